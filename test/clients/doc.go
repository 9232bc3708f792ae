// Package clients holds programs of the ecosystem against a real server: kubectl, Helm, and a controller written with
// controller-runtime. It is a module of its own, so that what they link is no dependency of Clipper.
//
// What kubectl is to say stands in testdata/kubectl, as it said it of kube-apiserver v1.36.3 on an empty etcd, without
// controllers, with the flags that its integration tests give it. A transcript is written anew, or a new one, of which only the
// lines that begin with "$ " need be there, by
//
//	go test -run TestKubectl -record KUBECONFIG [-kubectl PROGRAM]
package clients
