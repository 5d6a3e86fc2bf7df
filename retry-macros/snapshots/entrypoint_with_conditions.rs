// #[local_entrypoint(crate = ::my::runtime)]
// #[command(about = "Adds")]
// fn main(#[cfg(unix)] #[allow(unused)] r#type: u64, version: std::vec::Vec<u8>) { run() }

fn main() {
    ::my::runtime::__private0::init();
    let __arguments = {
        #[cfg(unix)]
        const OPTION_0__: bool = ::my::runtime::__private0::check_option(
            ::my::runtime::__private0::can_be_parsed!(u64),
            ::my::runtime::__private0::misplaced!(
                u64,
                "`u64` is a set of subcommands: write `#[command(subcommand)]` before this parameter",
                "`u64` is a set of options: write `#[command(flatten)]` before this parameter",
                "the value of an option is `Send` and `Sync`, and `u64` is not: take a `String`, and make it of that",
                "an option cannot be made of `u64`: implement `Clone` and `FromStr` for it, derive `Clone` and `clap::ValueEnum`, or take a `String`"
            ),
        );
        #[cfg(unix)]
        type __Value0 = <u64 as ::my::runtime::__private0::CommandLine<
            { OPTION_0__ },
        >>::Value;
        const OPTION_1__: bool = ::my::runtime::__private0::check_option(
            ::my::runtime::__private0::can_be_parsed!(u8),
            ::my::runtime::__private0::misplaced!(
                u8,
                "`u8` is a set of subcommands: write `#[command(subcommand)]` before this parameter",
                "`u8` is a set of options: write `#[command(flatten)]` before this parameter",
                "the value of an option is `Send` and `Sync`, and `u8` is not: take a `String`, and make it of that",
                "an option cannot be made of `u8`: implement `Clone` and `FromStr` for it, derive `Clone` and `clap::ValueEnum`, or take a `String`"
            ),
        );
        type __Value1 = <u8 as ::my::runtime::__private0::CommandLine<
            { OPTION_1__ },
        >>::Value;
        {
            use ::my::runtime::__private0::clap;
            #[allow(unused_imports, redundant_imports)]
            use ::std::{
                format,
                prelude::v1::{
                    Clone, Default, From, Into, Iterator, None, Option, Some, String,
                    ToString, Vec,
                },
            };
            #[derive(clap::Parser)]
            #[command(version, after_help = ::my::runtime::__private0::ABOUT_VARIABLES)]
            #[cfg_attr(all(), command(disable_version_flag = true))]
            #[command(about = "Adds")]
            #[allow(clippy::all, clippy::pedantic)]
            struct __Arguments {
                #[cfg(unix)]
                #[arg(id = "type", value_name = "TYPE")]
                #[arg(long = "type")]
                __argument0: __Value0,
                #[arg(id = "version", value_name = "VERSION")]
                #[arg(long = "version")]
                __argument1: Vec<__Value1>,
            }
            <__Arguments as clap::Parser>::parse()
        }
    };
    #[allow(clippy::items_after_statements)]
    fn main(#[cfg(unix)] #[allow(unused)] r#type: u64, version: std::vec::Vec<u8>) {
        run()
    }
    #[cfg(all(not(all(unix))))]
    { ::my::runtime::__private0::run(move || main(__arguments.__argument1)) }
    #[cfg(all(all(unix)))]
    {
        ::my::runtime::__private0::run(move || main(
            __arguments.__argument0,
            __arguments.__argument1,
        ))
    }
}
