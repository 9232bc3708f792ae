package modeltest

// A modelKind is a kind of object that is driven, with what sets its kind apart.
type modelKind struct {
	kind           string
	doors          []door         // the versions it is served in; all show the same objects
	createOnUpdate bool           // a PUT may create
	unconditional  bool           // a PUT needs no resourceVersion
	spec           bool           // a number in its spec and one in its status, each with a door of its own, and a generation
	pod            bool           // a node, a phase, a generation and a grace period
	cluster        bool           // in no namespace
	fixed          map[string]any // what every object has, and keeps
}

// A door is where a kind is served in one version.
type door struct{ path, version string }

var kinds = map[string]modelKind{
	"configmaps": {kind: "ConfigMap", doors: []door{{"/api/v1", "v1"}}, unconditional: true},
	"pods":       {kind: "Pod", doors: []door{{"/api/v1", "v1"}}, unconditional: true, pod: true},
	"leases": {kind: "Lease", doors: []door{{"/apis/coordination.k8s.io/v1", "coordination.k8s.io/v1"}},
		createOnUpdate: true},
	"runtimeclasses": {kind: "RuntimeClass", doors: []door{{"/apis/node.k8s.io/v1", "node.k8s.io/v1"}}, cluster: true,
		createOnUpdate: true, fixed: map[string]any{"handler": "h"}},
	"gizmos": {kind: "Gizmo", doors: []door{{"/apis/example.com/v1", "example.com/v1"}, {"/apis/example.com/v2", "example.com/v2"}},
		spec: true},
}

// custom says whether a path leads to a custom resource.
func (k modelKind) custom() bool { return k.spec }

// namespaces are those that objects are in.
var namespaces = []string{"one", "two"}

// places are the namespaces that objects of a kind are in.
func (k modelKind) places() []string {
	if k.cluster {
		return []string{""}
	}
	return namespaces
}

// nodes are those that pods are bound to. They need not exist.
var nodes = []string{"n1", "n2"}

const gizmoDefinition = `{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"gizmos.example.com"},"spec":{
"group":"example.com","scope":"Namespaced","names":{"plural":"gizmos","kind":"Gizmo"},"versions":[` +
	`{"name":"v1","served":true,"storage":true,` + gizmoVersion + `},{"name":"v2","served":true,"storage":false,` + gizmoVersion + `}]}}`

const gizmoVersion = `"subresources":{"status":{},"scale":{"specReplicasPath":".spec.n","statusReplicasPath":".status.n"}},
"selectableFields":[{"jsonPath":".spec.n"}],"schema":{"openAPIV3Schema":{"type":"object","properties":{
"spec":{"type":"object","properties":{"n":{"type":"integer"}}},"status":{"type":"object","properties":{"n":{"type":"integer"}}}}}}`

// terminationGrace is the grace period in the spec of a pod: long, so that none runs out in a test.
func terminationGrace(k modelKey) int64 {
	return []int64{0, 1000, 2000, 3000}[int(k.name[0])%4]
}

// names are those of the objects; of generated names there is no end.
var names = []string{"a", "b", "c", "d", "e", "f"}
