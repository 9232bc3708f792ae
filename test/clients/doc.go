// Package clients holds programs of the ecosystem against a real server: Helm, and a controller written with
// controller-runtime. It is a module of its own, so that what they link is no dependency of Clipper.
package clients
