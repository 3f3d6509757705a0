//! The binary: everything lives in the library, so that tests and benchmarks can use it.

/// The system's allocator took a tenth of a busy broker's processor time, this one a third of that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    dagster_taskiq_tui::cli::main()
}
