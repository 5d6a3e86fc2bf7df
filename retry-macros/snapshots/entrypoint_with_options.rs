// #[local_entrypoint]
// /// Adds.
// async fn main(
// plain: u64,
// /// Told.
// #[arg(default_value = "3")] told: u64,
// #[arg(short, long)] short: bool,
// #[arg(positional)] file: PathBuf,
// ) { run().await }

/// Adds.
fn main() {
    ::retry_runtime::__private0::init();
    ::retry_runtime::__private0::begin();
    use ::retry_runtime::__private0::clap;
    #[allow(non_upper_case_globals)]
    const OPTION_PLAIN: bool = ::retry_runtime::__private0::check_option(
        ::retry_runtime::__private0::can_be_parsed!(u64),
        "an option cannot be made of `u64`: implement `Clone` and `FromStr` for it, derive `Clone` and `clap::ValueEnum`, or take a `String`",
    );
    #[allow(non_upper_case_globals)]
    const OPTION_TOLD: bool = ::retry_runtime::__private0::check_option(
        ::retry_runtime::__private0::can_be_parsed!(u64),
        "an option cannot be made of `u64`: implement `Clone` and `FromStr` for it, derive `Clone` and `clap::ValueEnum`, or take a `String`",
    );
    #[allow(non_upper_case_globals)]
    const OPTION_FILE: bool = ::retry_runtime::__private0::check_option(
        ::retry_runtime::__private0::can_be_parsed!(PathBuf),
        "an option cannot be made of `PathBuf`: implement `Clone` and `FromStr` for it, derive `Clone` and `clap::ValueEnum`, or take a `String`",
    );
    /// Adds.
    #[derive(clap::Parser)]
    #[command(version, after_help = ::retry_runtime::__private0::ABOUT_VARIABLES)]
    #[allow(non_camel_case_types, clippy::all, clippy::pedantic)]
    struct __Arguments {
        #[arg(long)]
        plain: <u64 as ::retry_runtime::__private0::CommandLine<
            { OPTION_PLAIN },
        >>::Value,
        /// Told.
        #[arg(default_value = "3")]
        #[arg(long)]
        told: <u64 as ::retry_runtime::__private0::CommandLine<{ OPTION_TOLD }>>::Value,
        #[arg(short, long)]
        short: bool,
        file: <PathBuf as ::retry_runtime::__private0::CommandLine<
            { OPTION_FILE },
        >>::Value,
    }
    ::retry_runtime::__private0::require_cli! {}
    let __Arguments { plain, told, short, file } = {
        use ::retry_runtime::__private0::clap;
        <__Arguments as clap::Parser>::parse()
    };
    #[allow(clippy::items_after_statements)]
    async fn main(plain: u64, told: u64, short: bool, file: PathBuf) {
        run().await
    }
    let __result = ::retry_runtime::__private0::block_on_main(
        main(plain, told, short, file),
    );
    ::retry_runtime::__private0::finish();
    __result
}
