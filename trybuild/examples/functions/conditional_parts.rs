//! Parts of an item that depend on a condition.
#![deny(warnings)]
use retry_runtime::{function, service};

#[cfg(any())]
type Nothing = NoSuchType;

#[function(retries = 1)]
fn f(a: u32, #[cfg(any())] b: Nothing, #[cfg(all())] c: u32, #[cfg(not(any()))] _: u8) -> u32 {
    a + c
}

#[function(crate = ::retry_runtime, setup = load)]
async fn g(
    #[cfg(any())] state: &Nothing,
    #[cfg(all())] state: &u32,
    #[cfg(all())]
    #[cfg(not(all()))]
    absent: u32,
) -> u32 {
    *state
}

fn load() -> u32 {
    3
}

struct Counter(u32);

#[service(max_workers = 2)]
impl Counter {
    #[cfg(any())]
    #[setup]
    fn new_elsewhere(path: Nothing) -> Self {
        Self(path)
    }

    #[setup]
    #[cfg(all())]
    fn new(#[cfg(any())] path: Nothing, number: u32) -> Self {
        Self(number)
    }

    #[method]
    fn add(&mut self, #[cfg(all())] number: u32, #[cfg(any())] other: Nothing) -> u32 {
        self.0 += number;
        self.0
    }

    #[cfg(any())]
    #[method]
    fn get(&self) -> Nothing {}

    #[cfg(all())]
    #[method]
    fn get(&self) -> u32 {
        self.0
    }

    #[cfg(any())]
    #[teardown]
    fn close(self) {}
}

pub(crate) fn main() {
    retry_runtime::init();
    assert_eq!(f.remote(1, 2, 3).wait().unwrap(), 3);
    assert_eq!(f.spec().parameters, ["a", "c", "argument2"]);
    assert_eq!(g.remote().wait().unwrap(), 3);
    let counter = Counter::with(3);
    assert_eq!(counter.add.remote(1).wait().unwrap(), 4);
    assert_eq!(counter.get.remote().wait().unwrap(), 4);
}
