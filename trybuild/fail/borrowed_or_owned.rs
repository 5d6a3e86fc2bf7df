use std::borrow::Cow;

use retry_runtime::{function, service};

#[function]
fn length(text: Cow<str>) -> usize {
    text.len()
}

#[function]
fn lengths(texts: Vec<Cow<[u8]>>) -> usize {
    texts.len()
}

#[function]
fn name() -> Cow<str> {
    "name".into()
}

struct Counter(usize);

#[service]
impl Counter {
    #[setup]
    fn new(name: Cow<str>) -> Self {
        Self(name.len())
    }

    #[method]
    fn add(&self, name: std::borrow::Cow<str>) -> usize {
        self.0 + name.len()
    }
}

fn main() {
    let _ = length.remote("a".into()).wait();
    let _ = lengths.remote(Vec::new()).wait();
    let _ = name.remote().wait();
    let _ = Counter::with("a".into()).add.remote("b".into()).wait();
}
