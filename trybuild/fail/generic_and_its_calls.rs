#[retry_runtime::function]
fn largest<T: Ord>(values: Vec<T>) -> Option<T> {
    values.into_iter().max()
}

fn main() {
    let number: Option<u64> = largest.remote(vec![1, 2]).wait().unwrap();
    println!("{number:?} {:?}", largest(vec![1, 2]));
    for result in largest.map([vec![1], vec![2]]) {
        println!("{:?}", result.unwrap());
    }
}
