//! Parameters named like functions: those of a stub may have the name of any other stub, or of their own.
#![deny(warnings)]
use retry_runtime::function;

#[function]
fn size(path: &str) -> usize {
    path.len()
}

#[function]
fn path(size: usize) -> String {
    "x".repeat(size)
}

#[function]
async fn fits(size: usize, mut path: String) -> bool {
    path.push('/');
    path.len() <= size
}

#[function(setup = load)]
fn add(size: &mut usize, path: usize) -> usize {
    *size += path;
    *size
}

#[function(batch(max_size = 3))]
fn all(size: Vec<usize>) -> Vec<usize> {
    size
}

fn load() -> usize {
    3
}

macro_rules! named_like_their_parameters {
    ($($name:ident)*) => {
        $(
            #[function]
            fn $name($name: u64) -> u64 {
                $name
            }
        )*
    };
}

named_like_their_parameters!(attach for_each local map name on remote same spawn spec with_options);

#[function]
fn recursion(number: u64) -> u64 {
    match number {
        0 => 0,
        _ => recursion(number - 1) + 1,
    }
}

pub(crate) fn main() {
    retry_runtime::init();
    assert_eq!(size.remote("ab").wait().unwrap(), 2);
    assert_eq!(path.remote(2).wait().unwrap(), "xx");
    assert!(fits.remote(2, String::new()).wait().unwrap());
    assert_eq!(add.remote(4).wait().unwrap(), 7);
    assert_eq!(all.remote(4).wait().unwrap(), 4);
    assert_eq!(recursion(3), 3);
    let locals = [map.local(1), local.local(1), on.local(1), same.local(1)];
    assert_eq!(locals, [1; 4]);
    let _ = [
        attach(1),
        for_each(1),
        name(1),
        remote(1),
        spawn(1),
        spec(1),
    ];
    assert_eq!(with_options(2), 2);
}
