//! The binary: everything lives in the library, so that tests and benchmarks can use it.

/// A busy broker spent a tenth of its processor time in the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    dagster_taskiq_tui::cli::main()
}
