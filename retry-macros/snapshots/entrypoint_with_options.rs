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
    use ::retry_runtime::__private0::clap;
    #[allow(non_upper_case_globals)]
    const OPTION_PLAIN: bool = ::retry_runtime::__private0::check_option(
        ::retry_runtime::__private0::can_be_parsed!(u64),
        ::retry_runtime::__private0::misplaced!(
            u64,
            "`u64` is a set of subcommands: write `#[command(subcommand)]` before this parameter",
            "`u64` is a set of options: write `#[command(flatten)]` before this parameter",
            "an option cannot be made of `u64`: implement `Clone` and `FromStr` for it, derive `Clone` and `clap::ValueEnum`, or take a `String`"
        ),
    );
    #[allow(non_upper_case_globals)]
    const OPTION_TOLD: bool = ::retry_runtime::__private0::check_option(
        ::retry_runtime::__private0::can_be_parsed!(u64),
        ::retry_runtime::__private0::misplaced!(
            u64,
            "`u64` is a set of subcommands: write `#[command(subcommand)]` before this parameter",
            "`u64` is a set of options: write `#[command(flatten)]` before this parameter",
            "an option cannot be made of `u64`: implement `Clone` and `FromStr` for it, derive `Clone` and `clap::ValueEnum`, or take a `String`"
        ),
    );
    #[allow(non_upper_case_globals)]
    const OPTION_FILE: bool = ::retry_runtime::__private0::check_option(
        ::retry_runtime::__private0::can_be_parsed!(PathBuf),
        ::retry_runtime::__private0::misplaced!(
            PathBuf,
            "`PathBuf` is a set of subcommands: write `#[command(subcommand)]` before this parameter",
            "`PathBuf` is a set of options: write `#[command(flatten)]` before this parameter",
            "an option cannot be made of `PathBuf`: implement `Clone` and `FromStr` for it, derive `Clone` and `clap::ValueEnum`, or take a `String`"
        ),
    );
    #[allow(non_upper_case_globals)]
    const OPTION_NETWORK: bool = ::retry_runtime::__private0::check_option(
        {
            use ::retry_runtime::__private0::Otherwise as _;
            ::retry_runtime::__private0::IsArgs::<Network>::IS
        },
        "`Network` is no set of options: add `#[derive(clap::Args)]` to it",
    );
    #[allow(non_upper_case_globals)]
    const OPTION_COMMAND: bool = ::retry_runtime::__private0::check_option(
        {
            use ::retry_runtime::__private0::Otherwise as _;
            ::retry_runtime::__private0::IsSubcommand::<Command>::IS
        },
        "`Command` is no set of subcommands: add `#[derive(clap::Subcommand)]` to it",
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
        #[command(flatten)]
        network: <Network as ::retry_runtime::__private0::CommandLine<
            { OPTION_NETWORK },
        >>::Value,
        #[command(subcommand)]
        command: Option<
            <Command as ::retry_runtime::__private0::CommandLine<
                { OPTION_COMMAND },
            >>::Value,
        >,
    }
    ::retry_runtime::__private0::require_cli! {}
    let __Arguments { plain, told, short, file, network, command } = {
        use ::retry_runtime::__private0::clap;
        <__Arguments as clap::Parser>::parse()
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
        main(plain, told, short, file, network, command),
    )
}
