//! `fake-openai`: answers like OpenAI, without a model.

#![forbid(unsafe_code)]

mod cli;

use std::{future::Future, process::ExitCode};

use cli::{Failure, Task};
use fake_openai::{Config, Server};

/// What is logged unless `RUST_LOG` says otherwise. Not each client that speaks no HTTP: a scan would fill the disk.
const LOG: &str = "warn,actix_http::h1::dispatcher=off,fake_openai=info,access=info";

fn main() -> ExitCode {
    match cli::parse().and_then(execute) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn execute(task: Task) -> Result<(), Failure> {
    match task {
        Task::Print(text) => {
            cli::print(&text);
            Ok(())
        }
        Task::Healthcheck(url) => cli::healthcheck(&url),
        Task::Serve(config) => serve(*config),
        Task::Bench(config, options) => {
            prepare();
            cli::bench(&config, &options)
        }
    }
}

/// What a process needs that serves.
fn prepare() {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or(LOG)).init();
    // A load test opens more connections than the 1024 files that many systems start a program with.
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        log::warn!("cannot raise the limit on open files: {error}");
    }
}

fn serve(config: Config) -> Result<(), Failure> {
    prepare();
    let machine = |error: std::io::Error| Failure::Machine(error.to_string());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(machine)?;
    runtime.block_on(async {
        let stop = signals().map_err(machine)?;
        let server = Server::bind(config)?;
        // Before the URL is known to anybody who could send the signal.
        reload_on_hangup(server.reloader()).map_err(machine)?;
        cli::announce(&server);
        let stopped = server.run(stop).await?;
        log::info!("stopped: {} requests taken, {} of them cut", stopped.taken, stopped.cut);
        Ok(())
    })
}

/// Completes at the first SIGTERM or SIGINT; the second ends the program at once.
#[cfg(unix)]
fn signals() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        let mut next = async || tokio::select! { _ = term.recv() => "SIGTERM", _ = int.recv() => "SIGINT" };
        log::info!(
            "{}: no more connections are taken, requests under way are finished; again to end at once",
            next().await
        );
        tokio::spawn(async move {
            tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
            log::warn!("ended at once");
            std::process::exit(1);
        });
    })
}

/// Reloads fixtures and settings at each SIGHUP. A reload that fails changes nothing.
#[cfg(unix)]
fn reload_on_hangup(reloader: fake_openai::Reloader) -> std::io::Result<()> {
    let mut hangup = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup())?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            match cli::configuration().and_then(|config| Ok(reloader.reload(config)?)) {
                Ok(reloaded) => log::info!("SIGHUP: {reloaded}"),
                Err(failure) => {
                    log::error!("SIGHUP: not reloaded, the server goes on as before: {}", failure.text().trim_end());
                }
            }
        }
    });
    Ok(())
}

#[cfg(not(unix))]
fn reload_on_hangup(_: fake_openai::Reloader) -> std::io::Result<()> {
    Ok(())
}

/// Completes at Ctrl-C; the second ends the program at once.
#[cfg(not(unix))]
fn signals() -> std::io::Result<impl Future<Output = ()>> {
    Ok(async {
        let _ = tokio::signal::ctrl_c().await;
        tokio::spawn(async {
            let _ = tokio::signal::ctrl_c().await;
            std::process::exit(1);
        });
    })
}
