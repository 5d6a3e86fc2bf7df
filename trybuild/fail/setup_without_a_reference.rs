struct Table(u64);

fn load() -> Table {
    Table(1)
}

#[retry_runtime::function(setup = load)]
fn look_up(key: u64) -> u64 {
    key
}

fn main() {
    let value = look_up.remote(1).wait().unwrap();
    println!("{value}");
    let _ = look_up.map([1, 2]);
}
