package allocate

import (
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

var errPortAllocated = errors.New("provided port is already allocated")

func (t *taking) takePort(port int32) error {
	if t.dryRun {
		return t.dryPort(port)
	}
	if port < t.first || port > t.last {
		return fmt.Errorf("provided port is not in the valid range. The range of valid ports is %d-%d", t.first, t.last)
	}
	if !t.ports.take(t.holder, port) {
		return errPortAllocated
	}
	ok, err := t.claim(claimOf(port), func(svc *corev1.Service) bool { return slices.Contains(portsOf(svc), port) })
	if err == nil && !ok {
		err = errPortAllocated
	}
	if err != nil {
		t.ports.giveBack(port)
		return err
	}
	t.giveBack = append(t.giveBack, func() { t.ports.giveBack(port) })
	return nil
}

func (t *taking) takeAnyPort() (int32, error) {
	if t.dryRun {
		return t.dryAnyPort(), nil
	}
	for offset := range t.portSpan.offsets {
		port := t.first + int32(offset)
		if err := t.takePort(port); !errors.Is(err, errPortAllocated) {
			return port, counted(portsGiven, portsRefused, err, dynamic)
		}
	}
	return 0, counted(portsGiven, portsRefused, errFull, dynamic)
}

// wantsNodePorts says whether ports that name none get one.
func wantsNodePorts(svc *corev1.Service) bool {
	switch svc.Spec.Type {
	case corev1.ServiceTypeNodePort:
		return true
	case corev1.ServiceTypeLoadBalancer:
		return svc.Spec.AllocateLoadBalancerNodePorts == nil || *svc.Spec.AllocateLoadBalancerNodePorts
	}
	return false
}

// takeNodePorts gives every port a node port. Entries with the same port number and different protocols
// share one, as DNS needs.
func (t *taking) takeNodePorts() error {
	if !needsNodePort(t.svc) {
		return nil
	}
	var had []int32
	if t.old != nil && needsNodePort(t.old) {
		had = portsOf(t.old)
	}
	ports := t.svc.Spec.Ports
	byPort := map[int32]int32{} // service port → node port taken in this request
	taken := slices.Clone(had)
	for i := range ports {
		want := ports[i].NodePort
		if want == 0 {
			continue
		}
		if !slices.Contains(taken, want) {
			err := t.takePort(want)
			if !t.dryRun {
				err = counted(portsGiven, portsRefused, err, static)
			}
			if err != nil {
				return t.invalid(field.Invalid(field.NewPath("spec", "ports").Index(i).Child("nodePort"), want, err.Error()))
			}
			taken = append(taken, want)
		}
		if _, ok := byPort[ports[i].Port]; !ok {
			byPort[ports[i].Port] = want
		}
	}
	if !wantsNodePorts(t.svc) {
		return nil
	}
	for i := range ports {
		p := &ports[i]
		if p.NodePort != 0 {
			continue
		}
		if shared, ok := byPort[p.Port]; ok && !usedWith(ports, shared, p.Protocol) {
			p.NodePort = shared
			continue
		}
		port, err := t.takeAnyPort()
		if err != nil {
			return apierrors.NewInternalError(fmt.Errorf("failed to allocate a nodePort: %v", err))
		}
		p.NodePort, byPort[p.Port] = port, port
	}
	return nil
}

func usedWith(ports []corev1.ServicePort, nodePort int32, protocol corev1.Protocol) bool {
	return slices.ContainsFunc(ports, func(p corev1.ServicePort) bool { return p.NodePort == nodePort && p.Protocol == protocol })
}
