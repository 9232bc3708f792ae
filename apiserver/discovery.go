package apiserver

import (
	"net/http"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"clipper/apiserver/served"
)

// discovery answers the paths above the resources.
func (q *request) discovery() {
	if strings.HasPrefix(q.info.Path, "//") || strings.HasPrefix(q.info.Path, "/apis//") {
		q.plainNotFound()
		return
	}
	if q.inRouter() {
		if err := q.unacceptable(); err != nil {
			q.fail(err)
			return
		}
	}
	t := q.s.pipeline.Table()
	path := strings.TrimSuffix(q.info.Path, "/")
	in := &q.info
	switch {
	case path == "/api" || path == "/apis":
		if m, ok := wantsAggregated(q.r); ok {
			q.aggregated(t, in.Prefix, m)
			return
		}
		q.groups(t, in.Prefix)
	case in.Prefix == "apis" && in.Version == "":
		q.group(t, in.Group)
	default:
		q.resources(t, in.Group, in.Version)
	}
}

// plain answers with a discovery object as clients before aggregated discovery read it.
func (q *request) plain(obj runtime.Object, kind schema.GroupVersionKind) {
	m, ok := negotiate(q.r, ability{plainOnly, q.cbor()})
	if !ok {
		q.fail(notAcceptable(q.mediaTypes().objects...))
		return
	}
	q.writeObject(http.StatusOK, m, obj, kind)
}

func (q *request) groups(t *served.Table, prefix string) {
	if prefix == "api" {
		address := q.s.options.Address
		if address == "" {
			address = q.r.Host
		}
		q.plain(&metav1.APIVersions{
			Versions: []string{"v1"},
			ServerAddressByClientCIDRs: []metav1.ServerAddressByClientCIDR{
				{ClientCIDR: "0.0.0.0/0", ServerAddress: address},
			},
		}, schema.GroupVersionKind{Kind: "APIVersions"}) // it is older than versions are: upstream names none
		return
	}
	list := &metav1.APIGroupList{Groups: []metav1.APIGroup{}}
	for _, g := range offered(t, q.s.extensions()) {
		if g.name != "" {
			list.Groups = append(list.Groups, g.apiGroup())
		}
	}
	q.plain(list, metav1.Unversioned.WithKind("APIGroupList"))
}

func (q *request) group(t *served.Table, name string) {
	for _, g := range offered(t, q.s.extensions()) {
		if g.name == name && name != "" {
			out := g.apiGroup()
			q.plain(&out, metav1.Unversioned.WithKind("APIGroup"))
			return
		}
	}
	q.notFound()
}

func (q *request) resources(t *served.Table, group, version string) {
	v := t.Find(group, version)
	if v == nil {
		q.notFound()
		return
	}
	out := &metav1.APIResourceList{GroupVersion: schema.GroupVersion{Group: group, Version: version}.String(), APIResources: []metav1.APIResource{}}
	for _, k := range v.Kinds {
		out.APIResources = append(out.APIResources, apiResources(k)...)
	}
	kind := metav1.Unversioned.WithKind("APIResourceList")
	if group == "" {
		kind.Version = "" // as old as APIVersions
	}
	q.plain(out, kind)
}
