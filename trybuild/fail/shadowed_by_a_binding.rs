#[retry_runtime::function]
fn parse(number: u32) -> u32 {
    number
}

fn main() {
    let mut parse = 3;
    parse += 1;
}
