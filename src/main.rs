//! The entry of the program: it parses the command line and runs the command.

/// Every request allocates texts on one thread and frees them on another, which this does in less time than the
/// system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    keyward::cli::run(std::env::args_os())
}
