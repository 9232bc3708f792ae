// Package openapi holds the schemas of the built-in kinds and serves them: the OpenAPI v2 document, the
// v3 documents of each group and version, and the structured-merge types that server-side apply needs.
//
// The schemas come from the Go types of k8s.io/api, read at development time (generate.sh) into three
// compressed files. They stay compressed in memory until something asks for them: an idle server that no
// one applies to or explains from never opens them.
//
// Documents are made when they are asked for, and made anew when kinds come or go. That of version 2, which has all kinds, is
// joined from parts that stay as long as what they are about does (part.go, v2.go, own.go, write.go). Those in protobuf are made
// of those in JSON (transcode.go, form.go). Custom kinds' paths differ in names alone (blueprint.go), and what other servers
// say is a part as well (extension.go).
package openapi

//go:generate ./generate.sh
