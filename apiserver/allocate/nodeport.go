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

// takeNodePorts gives every port a node port. Who asks for one twice hears of it as upstream says it: of a new service,
// that it is taken; of one that changes, by number; from validation otherwise.
func (t *taking) takeNodePorts() error {
	switch {
	case !needsNodePort(t.svc):
		return nil
	case t.old == nil:
		return t.takeFirstNodePorts()
	}
	return t.takeMoreNodePorts()
}

// takeFirstNodePorts gives a new service its node ports. Ports with the same number share one, as DNS needs, unless they
// name others; where that is one protocol's twice, validation refuses it.
func (t *taking) takeFirstNodePorts() error {
	ports, shared := t.svc.Spec.Ports, map[int32]int32{} // service port → node port
	for i := range ports {
		p := &ports[i]
		if p.NodePort == 0 && !wantsNodePorts(t.svc) {
			continue
		}
		has, ok := shared[p.Port]
		switch {
		case ok && (p.NodePort == 0 || p.NodePort == has):
			p.NodePort = has
			continue
		case !ok:
			p.NodePort = namedFor(p.Port, ports[i:])
		}
		if err := t.takeNodePort(i); err != nil {
			return err
		}
		if !ok {
			shared[p.Port] = p.NodePort
		}
	}
	return nil
}

// namedFor is the node port that the first of ports with a number names, or 0.
func namedFor(port int32, ports []corev1.ServicePort) int32 {
	for _, p := range ports {
		if p.Port == port && p.NodePort != 0 {
			return p.NodePort
		}
	}
	return 0
}

// takeMoreNodePorts gives a service that changes the node ports that it has not: each port its own.
func (t *taking) takeMoreNodePorts() error {
	type use struct {
		protocol corev1.Protocol
		port     int32
	}
	ports, used := t.svc.Spec.Ports, map[use]bool{}
	has := map[int32]bool{}
	for _, p := range t.old.Spec.Ports {
		has[p.NodePort] = p.NodePort != 0
	}
	for i := range ports {
		p := &ports[i]
		if p.NodePort == 0 && !wantsNodePorts(t.svc) {
			continue
		}
		if !has[p.NodePort] {
			if err := t.takeNodePort(i); err != nil {
				return err
			}
			has[p.NodePort] = true
		}
		is := use{p.Protocol, p.NodePort}
		if used[is] {
			return fmt.Errorf("duplicate nodePort: {%s %d}", p.Protocol, p.NodePort) // to clients a bare 500, as upstream's
		}
		used[is] = true
	}
	return nil
}

// takeNodePort takes the node port that the port at i names, or else any.
func (t *taking) takeNodePort(i int) error {
	p := &t.svc.Spec.Ports[i]
	if p.NodePort == 0 {
		port, err := t.takeAnyPort()
		if err != nil {
			return apierrors.NewInternalError(fmt.Errorf("failed to allocate a nodePort: %v", err))
		}
		p.NodePort = port
		return nil
	}
	err := t.takePort(p.NodePort)
	if !t.dryRun {
		err = counted(portsGiven, portsRefused, err, static)
	}
	if err != nil {
		return t.invalid(field.Invalid(field.NewPath("spec", "ports").Index(i).Child("nodePort"), p.NodePort, err.Error()))
	}
	return nil
}
