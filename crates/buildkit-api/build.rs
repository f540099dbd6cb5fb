//! Makes the stubs of the services from a table.

use tonic_build::manual::{Builder, Method, Service};

/// A method: its name here and on the wire, what it takes and gives, and which of both are streams.
type Row = (&'static str, &'static str, &'static str, &'static str, Flow);

#[derive(Clone, Copy, PartialEq)]
enum Flow {
    One,
    Down,
    Both,
}

use Flow::{Both, Down, One};

const CONTROL: &[Row] = &[
    ("disk_usage", "DiskUsage", "control::DiskUsageRequest", "control::DiskUsageResponse", One),
    ("prune", "Prune", "control::PruneRequest", "control::UsageRecord", Down),
    ("solve", "Solve", "control::SolveRequest", "control::SolveResponse", One),
    ("status", "Status", "control::StatusRequest", "control::StatusResponse", Down),
    ("session", "Session", "control::BytesMessage", "control::BytesMessage", Both),
    ("list_workers", "ListWorkers", "control::ListWorkersRequest", "control::ListWorkersResponse", One),
    ("info", "Info", "control::InfoRequest", "control::InfoResponse", One),
    ("listen_build_history", "ListenBuildHistory", "control::BuildHistoryRequest", "control::BuildHistoryEvent", Down),
    (
        "update_build_history",
        "UpdateBuildHistory",
        "control::UpdateBuildHistoryRequest",
        "control::UpdateBuildHistoryResponse",
        One,
    ),
];

const BRIDGE: &[Row] = &[
    (
        "resolve_image_config",
        "ResolveImageConfig",
        "gateway::ResolveImageConfigRequest",
        "gateway::ResolveImageConfigResponse",
        One,
    ),
    (
        "resolve_source_meta",
        "ResolveSourceMeta",
        "gateway::ResolveSourceMetaRequest",
        "gateway::ResolveSourceMetaResponse",
        One,
    ),
    ("solve", "Solve", "gateway::SolveRequest", "gateway::SolveResponse", One),
    ("read_file", "ReadFile", "gateway::ReadFileRequest", "gateway::ReadFileResponse", One),
    ("read_dir", "ReadDir", "gateway::ReadDirRequest", "gateway::ReadDirResponse", One),
    ("stat_file", "StatFile", "gateway::StatFileRequest", "gateway::StatFileResponse", One),
    ("evaluate", "Evaluate", "gateway::EvaluateRequest", "gateway::EvaluateResponse", One),
    ("ping", "Ping", "gateway::PingRequest", "gateway::PongResponse", One),
    ("r#return", "Return", "gateway::ReturnRequest", "gateway::ReturnResponse", One),
    ("inputs", "Inputs", "gateway::InputsRequest", "gateway::InputsResponse", One),
    ("new_container", "NewContainer", "gateway::NewContainerRequest", "gateway::NewContainerResponse", One),
    (
        "release_container",
        "ReleaseContainer",
        "gateway::ReleaseContainerRequest",
        "gateway::ReleaseContainerResponse",
        One,
    ),
    ("exec_process", "ExecProcess", "gateway::ExecMessage", "gateway::ExecMessage", Both),
    ("read_file_container", "ReadFileContainer", "gateway::ReadFileRequest", "gateway::ReadFileResponse", One),
    ("read_dir_container", "ReadDirContainer", "gateway::ReadDirRequest", "gateway::ReadDirResponse", One),
    ("stat_file_container", "StatFileContainer", "gateway::StatFileRequest", "gateway::StatFileResponse", One),
    ("warn", "Warn", "gateway::WarnRequest", "gateway::WarnResponse", One),
];

const CONTENT: &[Row] = &[
    ("info", "Info", "content::InfoRequest", "content::InfoResponse", One),
    ("update", "Update", "content::UpdateRequest", "content::UpdateResponse", One),
    ("list", "List", "content::ListContentRequest", "content::ListContentResponse", Down),
    ("delete", "Delete", "content::DeleteContentRequest", "content::Empty", One),
    ("read", "Read", "content::ReadContentRequest", "content::ReadContentResponse", Down),
    ("status", "Status", "content::StatusRequest", "content::StatusResponse", One),
    ("list_statuses", "ListStatuses", "content::ListStatusesRequest", "content::ListStatusesResponse", One),
    ("write", "Write", "content::WriteContentRequest", "content::WriteContentResponse", Both),
    ("abort", "Abort", "content::AbortRequest", "content::Empty", One),
];

const HEALTH: &[Row] = &[
    ("check", "Check", "health::HealthCheckRequest", "health::HealthCheckResponse", One),
    ("list", "List", "health::HealthListRequest", "health::HealthListResponse", One),
    ("watch", "Watch", "health::HealthCheckRequest", "health::HealthCheckResponse", Down),
];

const REFLECTION: &[Row] = &[(
    "server_reflection_info",
    "ServerReflectionInfo",
    "reflection::ReflectionRequest",
    "reflection::ReflectionResponse",
    Both,
)];

const SERVICES: &[(&str, &str, &[Row])] = &[
    ("moby.buildkit.v1", "Control", CONTROL),
    ("moby.buildkit.v1.frontend", "LLBBridge", BRIDGE),
    ("containerd.services.content.v1", "Content", CONTENT),
    (
        "opentelemetry.proto.collector.trace.v1",
        "TraceService",
        &[("export", "Export", "traces::ExportRequest", "traces::ExportResponse", One)],
    ),
    (
        "moby.filesync.v1",
        "FileSync",
        &[
            ("diff_copy", "DiffCopy", "fsutil::Packet", "fsutil::Packet", Both),
            ("tar_stream", "TarStream", "fsutil::Packet", "fsutil::Packet", Both),
        ],
    ),
    (
        "moby.filesync.v1",
        "FileSend",
        &[("diff_copy", "DiffCopy", "filesync::BytesMessage", "filesync::BytesMessage", Both)],
    ),
    (
        "moby.filesync.v1",
        "Auth",
        &[
            ("credentials", "Credentials", "auth::CredentialsRequest", "auth::CredentialsResponse", One),
            ("fetch_token", "FetchToken", "auth::FetchTokenRequest", "auth::FetchTokenResponse", One),
            (
                "get_token_authority",
                "GetTokenAuthority",
                "auth::GetTokenAuthorityRequest",
                "auth::GetTokenAuthorityResponse",
                One,
            ),
            (
                "verify_token_authority",
                "VerifyTokenAuthority",
                "auth::VerifyTokenAuthorityRequest",
                "auth::VerifyTokenAuthorityResponse",
                One,
            ),
        ],
    ),
    (
        "moby.buildkit.secrets.v1",
        "Secrets",
        &[("get_secret", "GetSecret", "secrets::GetSecretRequest", "secrets::GetSecretResponse", One)],
    ),
    (
        "moby.sshforward.v1",
        "SSH",
        &[
            ("check_agent", "CheckAgent", "ssh::CheckAgentRequest", "ssh::CheckAgentResponse", One),
            ("forward_agent", "ForwardAgent", "ssh::BytesMessage", "ssh::BytesMessage", Both),
        ],
    ),
    ("moby.upload.v1", "Upload", &[("pull", "Pull", "upload::BytesMessage", "upload::BytesMessage", Both)]),
    (
        "moby.exporter.v1",
        "Exporter",
        &[
            (
                "find_exporters",
                "FindExporters",
                "exporter::FindExportersRequest",
                "exporter::FindExportersResponse",
                One,
            ),
            (
                "finalize_export",
                "FinalizeExport",
                "exporter::FinalizeExportRequest",
                "exporter::FinalizeExportResponse",
                One,
            ),
        ],
    ),
    (
        "moby.buildkit.v1.sourcepolicy.policysession",
        "PolicyVerifier",
        &[("check_policy", "CheckPolicy", "verifier::CheckPolicyRequest", "verifier::CheckPolicyResponse", One)],
    ),
    ("grpc.health.v1", "Health", HEALTH),
    ("grpc.reflection.v1", "ServerReflection", REFLECTION),
    ("grpc.reflection.v1alpha", "ServerReflection", REFLECTION),
];

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let services: Vec<Service> = SERVICES.iter().map(|(package, name, rows)| service(package, name, rows)).collect();
    Builder::new().compile(&services);
}

fn service(package: &str, name: &str, rows: &[Row]) -> Service {
    let mut service = Service::builder().package(package).name(name);
    for (here, wire, input, output, flow) in rows {
        let mut method = Method::builder()
            .name(*here)
            .route_name(*wire)
            .input_type(format!("crate::{input}"))
            .output_type(format!("crate::{output}"))
            .codec_path("tonic_prost::ProstCodec");
        if matches!(flow, Down | Both) {
            method = method.server_streaming();
        }
        if *flow == Both {
            method = method.client_streaming();
        }
        service = service.method(method.build());
    }
    service.build()
}
