// Package pod describes Pod.
package pod

import (
	"strconv"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/core/podspec"
)

type (
	spec   = corev1.PodSpec
	status = corev1.PodStatus
)

// Resource describes Pod.
func Resource() *catalogue.Resource {
	return catalogue.Describe[corev1.Pod, corev1.PodList](catalogue.Kind[*corev1.Pod]{
		Resource:       api.Pods.Resource,
		Warnings:       warnings,
		ValidateCreate: validateCreate,
		Metadata:       catalogue.ChangesThenWhole,
		ValidateUpdate: validateUpdate,
		ValidateStatus: validateStatus,
		Canonicalize:   func(p *corev1.Pod) { podspec.SyncServiceAccount(&p.Spec) }, // admission may have named one
		PrepareCreate:  prepareCreate,

		KeepCreateState: true, // prepareCreate looks at the class that a creator claims

		PrepareUpdate: prepareUpdate,
		PrepareStatus: prepareStatus,
		GracePeriod:   gracePeriod,
		Columns:       columns,
		Row:           row,
		RowConditions: rowConditions,
		ShortNames:    []string{"po"},
		Categories:    []string{"all"},

		Spec:       catalogue.PartOf(func(p *corev1.Pod) *spec { return &p.Spec }),
		Status:     catalogue.PartOf(func(p *corev1.Pod) *status { return &p.Status }),
		Generation: catalogue.PartOf(func(p *corev1.Pod) *spec { return &p.Spec }),

		Default: setDefaults,

		Fields:       fields,
		Subresources: subresources,
	})
}

// fields are the selectable fields.
var fields = map[string]func(*corev1.Pod) string{
	"spec.nodeName":           func(p *corev1.Pod) string { return p.Spec.NodeName },
	"spec.restartPolicy":      func(p *corev1.Pod) string { return string(p.Spec.RestartPolicy) },
	"spec.schedulerName":      func(p *corev1.Pod) string { return p.Spec.SchedulerName },
	"spec.serviceAccountName": func(p *corev1.Pod) string { return p.Spec.ServiceAccountName },
	"spec.hostNetwork":        func(p *corev1.Pod) string { return strconv.FormatBool(p.Spec.HostNetwork) },
	"status.phase":            func(p *corev1.Pod) string { return string(p.Status.Phase) },
	"status.nominatedNodeName": func(p *corev1.Pod) string {
		return p.Status.NominatedNodeName
	},
	"status.podIP": func(p *corev1.Pod) string {
		if len(p.Status.PodIPs) > 0 {
			return p.Status.PodIPs[0].IP
		}
		return ""
	},
	"status.podIPs": func(*corev1.Pod) string { return "" }, // upstream knows the name and nothing of its value
}

var (
	readWrite = []string{"get", "patch", "update"}
	connect   = []string{"create", "get"}
	proxy     = []string{"create", "delete", "get", "patch", "update"}
)

var subresources = []catalogue.Subresource{
	{Name: "attach", Kind: "PodAttachOptions", Verbs: connect},
	{Name: "binding", Kind: "Binding", Verbs: []string{"create"}, New: func() runtime.Object { return new(corev1.Binding) }},
	{
		Name: "ephemeralcontainers", Kind: "Pod", Verbs: readWrite, New: func() runtime.Object { return new(corev1.Pod) },
		Update: catalogue.StatusOf(prepareEphemeral, validateEphemeral, catalogue.ChangesThenWhole...),
	},
	{Name: "eviction", Group: "policy", Version: "v1", Kind: "Eviction", Verbs: []string{"create"}, New: func() runtime.Object { return new(policyv1.Eviction) }},
	{Name: "exec", Kind: "PodExecOptions", Verbs: connect},
	{Name: "log", Kind: "Pod", Verbs: []string{"get"}},
	{Name: "portforward", Kind: "PodPortForwardOptions", Verbs: connect},
	{Name: "proxy", Kind: "PodProxyOptions", Verbs: proxy},
	{
		Name: "resize", Kind: "Pod", Verbs: readWrite, New: func() runtime.Object { return new(corev1.Pod) },
		Update: catalogue.StatusOf(prepareResize, validateResize),
	},
}
