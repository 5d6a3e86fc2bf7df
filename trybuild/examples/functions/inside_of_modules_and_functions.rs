//! A function may be declared in a private module and in another function.
mod outer {
    mod inner {
        use retry_runtime::function;

        #[function]
        pub(super) fn deep(number: u64) -> u64 {
            number
        }
    }

    pub(crate) fn call() -> u64 {
        let _ = inner::deep.remote(1);
        inner::deep(1)
    }
}

pub(crate) fn main() {
    #[retry_runtime::function]
    fn local_one(text: &str) -> usize {
        text.len()
    }

    assert_eq!(outer::call(), 1);
    assert_eq!(local_one("ab"), 2);
    let _ = local_one.map(["a", "b"]);
}
