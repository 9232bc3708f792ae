package podspec

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/catalogue/rule"
)

// A handler is one of the ways to act on a container, of probes and of lifecycle hooks.
type handler struct {
	exec  *corev1.ExecAction
	http  *corev1.HTTPGetAction
	tcp   *corev1.TCPSocketAction
	grpc  *corev1.GRPCAction
	sleep *corev1.SleepAction
}

func (v *validating) probe(p *corev1.Probe, at *field.Path) {
	if p == nil {
		return
	}
	v.handler(handler{exec: p.Exec, http: p.HTTPGet, tcp: p.TCPSocket, grpc: p.GRPC}, at)
	v.AtLeastZero(at.Child("initialDelaySeconds"), int64(p.InitialDelaySeconds))
	v.AtLeastZero(at.Child("timeoutSeconds"), int64(p.TimeoutSeconds))
	v.AtLeastZero(at.Child("periodSeconds"), int64(p.PeriodSeconds))
	v.AtLeastZero(at.Child("successThreshold"), int64(p.SuccessThreshold))
	v.AtLeastZero(at.Child("failureThreshold"), int64(p.FailureThreshold))
	if g := p.TerminationGracePeriodSeconds; g != nil && *g <= 0 {
		v.Invalid(at.Child("terminationGracePeriodSeconds"), *g, "must be greater than 0")
	}
}

// onceEnough: one success ends what a liveness or startup probe waits for.
func (v *validating) onceEnough(p *corev1.Probe, at *field.Path) {
	if p != nil && p.SuccessThreshold != 1 {
		v.Invalid(at.Child("successThreshold"), p.SuccessThreshold, "must be 1")
	}
}

func (v *validating) lifecycle(l *corev1.Lifecycle, at *field.Path) {
	hook := func(h *corev1.LifecycleHandler, at *field.Path) {
		if h != nil {
			v.handler(handler{exec: h.Exec, http: h.HTTPGet, tcp: h.TCPSocket, sleep: h.Sleep}, at)
		}
	}
	hook(l.PostStart, at.Child("postStart"))
	hook(l.PreStop, at.Child("preStop"))
	if l.StopSignal != nil && v.spec.OS == nil {
		v.Forbidden(at.Child("stopSignal"), "may not be set for containers with empty `spec.os.name`")
	}
}

func (v *validating) handler(h handler, at *field.Path) {
	count := 0
	first := func(path *field.Path) bool {
		count++
		if count > 1 {
			v.Forbidden(path, "may not specify more than 1 handler type")
		}
		return count == 1
	}
	if h.exec != nil && first(at.Child("exec")) && len(h.exec.Command) == 0 {
		v.Required(at.Child("exec", "command"), "")
	}
	if h.http != nil && first(at.Child("httpGet")) {
		v.httpGet(h.http, at.Child("httpGet"))
	}
	if h.tcp != nil && first(at.Child("tcpSocket")) {
		v.portOrName(h.tcp.Port, at.Child("tcpSocket", "port"))
	}
	if h.grpc != nil && first(at.Child("grpc")) {
		v.portOrName(intstr.FromInt32(h.grpc.Port), at.Child("grpc", "port"))
	}
	if h.sleep != nil && first(at.Child("sleep")) {
		if g := v.spec.TerminationGracePeriodSeconds; g != nil && (h.sleep.Seconds < 0 || h.sleep.Seconds > *g) {
			v.Invalid(at.Child("sleep"), h.sleep.Seconds, fmt.Sprintf("must be non-negative and less than terminationGracePeriodSeconds (%d)", *g))
		}
	}
	if count == 0 {
		v.Required(at, "must specify a handler type")
	}
}

func (v *validating) httpGet(h *corev1.HTTPGetAction, at *field.Path) {
	v.Need(at.Child("path"), h.Path)
	v.portOrName(h.Port, at.Child("port"))
	rule.OneOf(v.Faults, at.Child("scheme"), h.Scheme, corev1.URISchemeHTTP, corev1.URISchemeHTTPS)
	for _, header := range h.HTTPHeaders {
		v.Each(at.Child("httpHeaders"), header.Name, utilvalidation.IsHTTPHeaderName(header.Name))
	}
}

func (v *validating) portOrName(p intstr.IntOrString, at *field.Path) { PortOrName(v.Faults, p, at) }

// PortOrName checks a port that may be given by number or by name.
func PortOrName(f *rule.Faults, p intstr.IntOrString, at *field.Path) {
	switch p.Type {
	case intstr.Int:
		f.Each(at, p.IntValue(), utilvalidation.IsValidPortNum(p.IntValue()))
	case intstr.String:
		f.Each(at, p.StrVal, utilvalidation.IsValidPortName(p.StrVal))
	default:
		f.Add(field.InternalError(at, fmt.Errorf("unknown type: %v", p.Type)))
	}
}
