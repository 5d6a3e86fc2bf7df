#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Unlucky;

#[retry_runtime::function]
fn draw(number: u64) -> Result<u64, Unlucky> {
    if number == 13 { Err(Unlucky) } else { Ok(number) }
}

fn main() {
    let drawn: Result<u64, Unlucky> = draw.remote(7).wait();
    println!("{drawn:?}");
}
