// Package authentication describes the kinds of authentication.k8s.io/v1.
package authentication

import (
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/catalogue"
)

// Resources describes the kinds of the group.
func Resources() []*catalogue.Resource {
	return []*catalogue.Resource{
		review[authenticationv1.SelfSubjectReview]("selfsubjectreviews", "SelfSubjectReview", false),
		review[authenticationv1.TokenReview]("tokenreviews", "TokenReview", false),
	}
}

// review describes a kind that is only ever posted and answered, never stored.
func review[O any, T interface {
	*O
	api.Object
}](name, kind string, namespaced bool) *catalogue.Resource {
	r := catalogue.Describe[O, metav1.List](catalogue.Kind[T]{
		Resource: api.Resource{Group: "authentication.k8s.io", Version: "v1", Name: name, Kind: kind, Namespaced: namespaced},
		Verbs:    []string{"create"},
		Unstored: true,
	})
	r.NewList, r.ListKind = nil, ""
	return r
}
