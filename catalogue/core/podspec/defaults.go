package podspec

import (
	"github.com/distribution/reference"
	corev1 "k8s.io/api/core/v1"

	"clipper/api/containers"
	"clipper/catalogue/rule"
)

// DefaultTemplate fills in a pod template.
func DefaultTemplate(t *corev1.PodTemplateSpec) { Default(&t.Spec) }

// Default fills in what a pod and a pod template have in common. Defaults of pods alone are in package pod.
func Default(spec *corev1.PodSpec) {
	rule.SetIfEmpty(&spec.DNSPolicy, corev1.DNSClusterFirst)
	rule.SetIfEmpty(&spec.RestartPolicy, corev1.RestartPolicyAlways)
	rule.SetIfEmpty(&spec.SchedulerName, corev1.DefaultSchedulerName)
	rule.SetIfNil(&spec.TerminationGracePeriodSeconds, corev1.DefaultTerminationGracePeriodSeconds)
	rule.SetIfNil(&spec.SecurityContext, corev1.PodSecurityContext{})
	SyncServiceAccount(spec)
	for i := range spec.Volumes {
		defaultVolume(&spec.Volumes[i])
	}
	for c := range containers.All(spec) {
		defaultContainer(c)
	}
	RoundUp(spec.Overhead)
	if spec.Resources != nil {
		roundUpBoth(&spec.Resources.Requests, &spec.Resources.Limits)
	}
}

// SyncServiceAccount keeps the two spellings of the service account's name equal; the newer one wins.
func SyncServiceAccount(spec *corev1.PodSpec) {
	rule.SetIfEmpty(&spec.ServiceAccountName, spec.DeprecatedServiceAccount)
	spec.DeprecatedServiceAccount = spec.ServiceAccountName
}

func defaultContainer(c *corev1.Container) {
	rule.SetIfEmpty(&c.ImagePullPolicy, pullPolicy(c.Image))
	rule.SetIfEmpty(&c.TerminationMessagePath, corev1.TerminationMessagePathDefault)
	rule.SetIfEmpty(&c.TerminationMessagePolicy, corev1.TerminationMessageReadFile)
	for i := range c.Ports {
		rule.SetIfEmpty(&c.Ports[i].Protocol, corev1.ProtocolTCP)
	}
	for i := range c.Env {
		if from := c.Env[i].ValueFrom; from != nil {
			defaultFieldRef(from.FieldRef)
			if from.FileKeyRef != nil {
				rule.SetIfNil(&from.FileKeyRef.Optional, false)
			}
		}
	}
	roundUpBoth(&c.Resources.Requests, &c.Resources.Limits)
	for _, p := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe, c.StartupProbe} {
		defaultProbe(p)
	}
	if c.Lifecycle != nil {
		for _, h := range []*corev1.LifecycleHandler{c.Lifecycle.PostStart, c.Lifecycle.PreStop} {
			if h != nil {
				defaultHTTPGet(h.HTTPGet)
			}
		}
	}
}

func defaultProbe(p *corev1.Probe) {
	if p == nil {
		return
	}
	rule.SetIfEmpty(&p.TimeoutSeconds, 1)
	rule.SetIfEmpty(&p.PeriodSeconds, 10)
	rule.SetIfEmpty(&p.SuccessThreshold, 1)
	rule.SetIfEmpty(&p.FailureThreshold, 3)
	defaultHTTPGet(p.HTTPGet)
	if p.GRPC != nil {
		rule.SetIfNil(&p.GRPC.Service, "")
	}
}

func defaultHTTPGet(h *corev1.HTTPGetAction) {
	if h == nil {
		return
	}
	rule.SetIfEmpty(&h.Path, "/")
	rule.SetIfEmpty(&h.Scheme, corev1.URISchemeHTTP)
}

func defaultFieldRef(r *corev1.ObjectFieldSelector) {
	if r != nil {
		rule.SetIfEmpty(&r.APIVersion, "v1")
	}
}

// pullPolicy is Always for images that are or default to the tag latest. A digest alone pins the content,
// and a name that cannot be parsed is validation's business.
func pullPolicy(image string) corev1.PullPolicy {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return corev1.PullIfNotPresent
	}
	if tagged, ok := named.(reference.Tagged); ok && tagged.Tag() == "latest" || reference.IsNameOnly(named) {
		return corev1.PullAlways
	}
	return corev1.PullIfNotPresent
}

// RoundUp brings quantities to whole thousandths, the finest step that is kept.
func RoundUp(list corev1.ResourceList) {
	for name, q := range list {
		q.RoundUp(-3)
		list[name] = q
	}
}

func roundUpBoth(requests, limits *corev1.ResourceList) {
	RoundUp(*requests)
	RoundUp(*limits)
}
