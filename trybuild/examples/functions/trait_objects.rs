//! A crate with many trait objects, and with traits whose methods are named like those of the stub.
use retry_runtime::function;
use std::fmt::{Debug, Display};

trait Remote {
    fn remote(&self) -> u64;
    fn map(&self) -> u64;
    fn spawn(&self) -> u64;
}

impl Remote for u64 {
    fn remote(&self) -> u64 {
        0
    }
    fn map(&self) -> u64 {
        0
    }
    fn spawn(&self) -> u64 {
        0
    }
}

trait Shape: Display + Debug {
    fn area(&self) -> f64;
}

#[derive(Debug)]
struct Square(f64);

impl Display for Square {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl Shape for Square {
    fn area(&self) -> f64 {
        self.0 * self.0
    }
}

#[function]
fn area(side: f64) -> Result<f64, Box<dyn std::error::Error + Send + Sync>> {
    let shape: Box<dyn Shape> = Box::new(Square(side));
    Ok(shape.area())
}

pub(crate) fn main() {
    let object: &dyn Remote = &3u64;
    assert_eq!(object.remote() + object.map() + object.spawn(), 0);
    assert_eq!(area(2.0).unwrap(), 4.0);
    let call: retry_runtime::Call<f64, retry_runtime::RemoteError> = area.remote(2.0);
    drop(call);
}
