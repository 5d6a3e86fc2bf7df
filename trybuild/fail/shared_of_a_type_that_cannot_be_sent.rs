use retry_runtime::{Shared, function};

struct Table(Vec<f64>);

#[function]
fn look_up(row: usize, table: Shared<Table>) -> f64 {
    table.0[row]
}

fn main() {
    let table = Shared::new(&Table(vec![1.0])).unwrap();
    println!("{:?}", look_up.remote(0, table.clone()).wait());
    for value in look_up.map((0..3).zip(std::iter::repeat(table))) {
        println!("{value:?}");
    }
}
