//! Traits of the user's that every type implements, with methods named like those that generated code calls.
#![deny(warnings)]
#![allow(dead_code)]
use retry_runtime::{Retries, function, on_start, service};
use serde::{Deserialize, Serialize};

macro_rules! blanket {
    ($($name:ident)*) => {
        $(
            mod $name {
                pub trait ByReference {
                    fn $name(&self) -> &'static str {
                        ""
                    }
                }
                impl<T: ?Sized> ByReference for T {}

                pub trait ByValue: Sized {
                    fn $name(self) -> &'static str {
                        ""
                    }
                }
                impl<T> ByValue for T {}

                pub trait Mutably {
                    fn $name(&mut self) -> &'static str {
                        ""
                    }
                }
                impl<T: ?Sized> Mutably for T {}
            }
            #[allow(unused_imports)]
            use $name::{ByReference as _, ByValue as _, Mutably as _};
        )*
    };
}

blanket! {
    arguments ask asynchronous attach batch boxed check configure decoded describe error fitted get
    method_of name new on read result retries retry retry_if setup shown_by spec state tear_down teardown text
    timeout value with_options write
}

mod of_iterators {
    pub trait Map {
        fn map(&self) {}
    }
    impl<T> Map for T {}
}
#[allow(unused_imports)]
use of_iterators::Map as _;

const POLICY: Retries = Retries::none();
const TIMES: u64 = 3;

#[derive(Debug)]
struct OnlyDebug;

#[on_start]
fn starts() -> Result<(), OnlyDebug> {
    Ok(())
}

#[function(retries = POLICY, retry_if = judge, setup = load, teardown = close)]
fn blocking(state: &mut u64, number: u64) -> Result<u64, String> {
    *state += number;
    Ok(*state)
}

#[function(retries = TIMES, retry_if = |error: &String| error.is_empty(), setup = || 7, teardown = |_: u64| ())]
async fn later(state: &u64, text: &str) -> Result<u64, String> {
    Ok(*state + text.len() as u64)
}

#[function(batch(max_size = 3))]
fn several(numbers: Vec<u64>) -> Vec<Result<u64, std::io::Error>> {
    numbers.into_iter().map(Ok).collect()
}

fn judge(_: &String) -> bool {
    true
}

fn load() -> u64 {
    3
}

async fn close(_: u64) {}

#[derive(Serialize, Deserialize)]
struct Sum(u64);

#[service]
impl Sum {
    #[setup]
    async fn start(number: u64) -> Self {
        Self(number)
    }

    #[method(retries = 2)]
    fn add(&mut self, number: u64) -> Result<u64, std::io::Error> {
        self.0 += number;
        Ok(self.0)
    }

    #[teardown]
    fn close(self) {}
}

pub(crate) fn main() {
    retry_runtime::init();
    assert_eq!(blocking.remote(1).wait().unwrap(), 4);
    assert_eq!(later.remote("ab").wait().unwrap(), 9);
    assert_eq!(several.remote(5).wait().unwrap(), 5);
    assert_eq!(Sum::with(3).add.remote(4).wait().unwrap(), 7);
    assert_eq!(several.map(0..3_u64).into_iter().count(), 3);
}
