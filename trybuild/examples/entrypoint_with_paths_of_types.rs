//! `Option` and `Vec` may be written with their paths, and a parser may return all of a `std::vec::Vec`.
#![no_implicit_prelude]

fn all(text: &str) -> ::std::result::Result<::std::vec::Vec<u8>, ::std::fmt::Error> {
    ::std::result::Result::Ok(::std::convert::From::from(text))
}

#[::retry_runtime::local_entrypoint]
fn main(
    size: ::std::option::Option<u64>,
    sizes: ::std::vec::Vec<u8>,
    more: ::core::option::Option<::std::vec::Vec<u8>>,
    perhaps: ::core::option::Option<::std::option::Option<u8>>,
    #[arg(default_value_t = 3)] number: u8,
    #[arg(value_parser = all, default_value = "ab")] bytes: ::std::vec::Vec<u8>,
    flag: bool,
) {
    let rest = (size, sizes, more, perhaps, flag);
    let none = ::std::option::Option::None::<u8>;
    let vector = ::std::vec::Vec::new();
    ::std::assert_eq!(
        rest,
        (
            ::std::option::Option::None,
            vector,
            ::std::option::Option::None,
            none.map(::std::option::Option::Some),
            false
        )
    );
    ::std::assert_eq!((number, &bytes[..]), (3, &b"ab"[..]));
}
