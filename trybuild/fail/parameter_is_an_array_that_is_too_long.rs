use retry_runtime::function;

#[function]
fn checksum(block: [u8; 64]) -> u8 {
    block.iter().fold(0, |sum, byte| sum ^ byte)
}

fn main() {
    retry_runtime::init();
    checksum.remote([0; 64]).wait().unwrap();
}
