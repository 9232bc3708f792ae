#!/bin/sh
# Makes the schema files of package openapi anew from the Go types that this module's go.mod names.
# Run it after changing the version of k8s.io/api: go generate ./openapi
set -eu
cd "$(dirname "$0")"
packages=$(go list -f '{{.ImportPath}} {{.Dir}}' k8s.io/api/... k8s.io/apimachinery/pkg/apis/... k8s.io/apimachinery/pkg/runtime \
	k8s.io/apimachinery/pkg/version k8s.io/apimachinery/pkg/util/intstr k8s.io/apimachinery/pkg/api/resource \
	k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1 k8s.io/kube-aggregator/pkg/apis/apiregistration/v1 |
	while read -r package dir; do
		if grep -qs 'k8s:openapi-gen=true' "$dir"/*.go; then echo "$package"; fi
	done)
trap 'rm -rf generate/definitions' EXIT
: >generate/header.txt
# The list of API rule violations is upstream's matter: it goes to nowhere.
go tool openapi-gen --go-header-file generate/header.txt --report-filename /dev/null \
	--output-dir generate/definitions --output-pkg clipper/openapi/generate/definitions --output-file zz_generated.go $packages
rm -f generate/header.txt
go run -tags generate ./generate
