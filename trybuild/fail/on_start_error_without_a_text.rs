struct Silent;

#[retry_runtime::on_start]
fn logging() -> Result<(), Silent> {
    Err(Silent)
}

fn main() {}
