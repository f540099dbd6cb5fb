//! Stubs of the services, made by `build.rs`.
#![allow(missing_docs, clippy::all, reason = "made by a program")]

macro_rules! service {
    ($module:ident, $file:literal) => {
        pub mod $module {
            include!(concat!(env!("OUT_DIR"), "/", $file, ".rs"));
        }
    };
}

service!(control, "moby.buildkit.v1.Control");
service!(bridge, "moby.buildkit.v1.frontend.LLBBridge");
service!(content, "containerd.services.content.v1.Content");
service!(traces, "opentelemetry.proto.collector.trace.v1.TraceService");
service!(file_sync, "moby.filesync.v1.FileSync");
service!(file_send, "moby.filesync.v1.FileSend");
service!(auth, "moby.filesync.v1.Auth");
service!(secrets, "moby.buildkit.secrets.v1.Secrets");
service!(ssh, "moby.sshforward.v1.SSH");
service!(upload, "moby.upload.v1.Upload");
service!(exporter, "moby.exporter.v1.Exporter");
service!(verifier, "moby.buildkit.v1.sourcepolicy.policysession.PolicyVerifier");
service!(health, "grpc.health.v1.Health");
service!(reflection, "grpc.reflection.v1.ServerReflection");
service!(reflection_alpha, "grpc.reflection.v1alpha.ServerReflection");
