// #[local_entrypoint]
// /// Adds.
// pub(crate) async fn main(
// plain: u64,
// /// Told.
// #[arg(default_value = "3")] told: u64,
// #[arg(short, long)] short: bool,
// #[arg(positional)] file: PathBuf,
// #[command(flatten)] network: Network,
// #[command(subcommand)] command: Option<Command>,
// ) { run().await }

/// Adds.
pub(crate) fn main() {
    ::retry_runtime::__private0::init();
    let __arguments = {
        const OPTION_0__: bool = ::retry_runtime::__private0::check_option(
            ::retry_runtime::__private0::can_be_parsed!(u64),
            ::retry_runtime::__private0::misplaced!(
                u64,
                "`u64` is a set of subcommands: write `#[command(subcommand)]` before this parameter",
                "`u64` is a set of options: write `#[command(flatten)]` before this parameter",
                "the value of an option is `Send` and `Sync`, and `u64` is not: take a `String`, and make it of that",
                "an option cannot be made of `u64`: implement `Clone` and `FromStr` for it, derive `Clone` and `clap::ValueEnum`, or take a `String`"
            ),
        );
        type __Value0 = <u64 as ::retry_runtime::__private0::CommandLine<
            { OPTION_0__ },
        >>::Value;
        const OPTION_1__: bool = ::retry_runtime::__private0::check_option(
            ::retry_runtime::__private0::can_be_parsed!(u64),
            ::retry_runtime::__private0::misplaced!(
                u64,
                "`u64` is a set of subcommands: write `#[command(subcommand)]` before this parameter",
                "`u64` is a set of options: write `#[command(flatten)]` before this parameter",
                "the value of an option is `Send` and `Sync`, and `u64` is not: take a `String`, and make it of that",
                "an option cannot be made of `u64`: implement `Clone` and `FromStr` for it, derive `Clone` and `clap::ValueEnum`, or take a `String`"
            ),
        );
        type __Value1 = <u64 as ::retry_runtime::__private0::CommandLine<
            { OPTION_1__ },
        >>::Value;
        const OPTION_3__: bool = ::retry_runtime::__private0::check_option(
            ::retry_runtime::__private0::can_be_parsed!(PathBuf),
            ::retry_runtime::__private0::misplaced!(
                PathBuf,
                "`PathBuf` is a set of subcommands: write `#[command(subcommand)]` before this parameter",
                "`PathBuf` is a set of options: write `#[command(flatten)]` before this parameter",
                "the value of an option is `Send` and `Sync`, and `PathBuf` is not: take a `String`, and make it of that",
                "an option cannot be made of `PathBuf`: implement `Clone` and `FromStr` for it, derive `Clone` and `clap::ValueEnum`, or take a `String`"
            ),
        );
        type __Value3 = <PathBuf as ::retry_runtime::__private0::CommandLine<
            { OPTION_3__ },
        >>::Value;
        const OPTION_4__: bool = ::retry_runtime::__private0::check_option(
            {
                use ::retry_runtime::__private0::Otherwise as _;
                ::retry_runtime::__private0::IsArgs::<Network>::IS
            },
            "`Network` is no set of options: add `#[derive(clap::Args)]` to it",
        );
        type __Value4 = <Network as ::retry_runtime::__private0::CommandLine<
            { OPTION_4__ },
        >>::Value;
        const OPTION_5__: bool = ::retry_runtime::__private0::check_option(
            {
                use ::retry_runtime::__private0::Otherwise as _;
                ::retry_runtime::__private0::IsSubcommand::<Command>::IS
            },
            "`Command` is no set of subcommands: add `#[derive(clap::Subcommand)]` to it",
        );
        type __Value5 = <Command as ::retry_runtime::__private0::CommandLine<
            { OPTION_5__ },
        >>::Value;
        {
            use ::retry_runtime::__private0::clap;
            #[allow(unused_imports, redundant_imports)]
            use ::std::{
                format,
                prelude::v1::{
                    Clone, Default, From, Into, Iterator, None, Option, Some, String,
                    ToString, Vec,
                },
            };
            /// Adds.
            #[derive(clap::Parser)]
            #[command(
                version,
                after_help = ::retry_runtime::__private0::ABOUT_VARIABLES
            )]
            #[allow(clippy::all, clippy::pedantic)]
            struct __Arguments {
                #[arg(id = "plain", value_name = "PLAIN")]
                #[arg(long = "plain")]
                __argument0: __Value0,
                #[arg(id = "told", value_name = "TOLD")]
                /// Told.
                #[arg(default_value = "3")]
                #[arg(long = "told")]
                __argument1: __Value1,
                #[arg(id = "short", value_name = "SHORT")]
                #[arg(short = 's', long = "short")]
                __argument2: bool,
                #[arg(id = "file", value_name = "FILE")]
                __argument3: __Value3,
                #[command(flatten)]
                __argument4: __Value4,
                #[command(subcommand)]
                __argument5: Option<__Value5>,
            }
            <__Arguments as clap::Parser>::parse()
        }
    };
    #[allow(clippy::items_after_statements)]
    async fn main(
        plain: u64,
        told: u64,
        short: bool,
        file: PathBuf,
        network: Network,
        command: Option<Command>,
    ) {
        run().await
    }
    ::retry_runtime::__private0::run_async(
        main(
            __arguments.__argument0,
            __arguments.__argument1,
            __arguments.__argument2,
            __arguments.__argument3,
            __arguments.__argument4,
            __arguments.__argument5,
        ),
    )
}
