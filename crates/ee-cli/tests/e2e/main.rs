//! End-to-end tests: the programs as people run them, one module a topic.

mod autobahn;
mod books;
mod bulk;
mod early;
mod first_five_minutes;
mod fronts;
mod grpc;
mod grpc_library;
mod http;
mod http2;
mod minimal_agent;
mod network;
mod node_tokens;
mod quote_matrix;
mod restart;
mod reverse_proxies;
mod rig;
mod support;
mod websocket;
