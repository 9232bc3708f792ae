package api

import (
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// An Index names one of the secondary orders that views keep, so that a lookup does not walk every object.
type Index string

// The indexes that exist. Indexes says which resource has which.
const (
	ByNode       Index = "node"       // pods by spec.nodeName; "" files the unbound ones
	ByController Index = "controller" // objects by the UID of their controlling owner; "" files those without
	ByService    Index = "service"    // endpoint slices by "namespace/service name"
)

// Indexes lists the indexes of each resource with the function that yields an object's values. It is
// read-only after init.
var Indexes = map[Resource]map[Index]func(Object) []string{
	Pods.Resource:                {ByNode: podNode, ByController: controllerUID},
	ReplicaSets.Resource:         {ByController: controllerUID},
	Jobs.Resource:                {ByController: controllerUID},
	ControllerRevisions.Resource: {ByController: controllerUID},
	EndpointSlices.Resource:      {ByService: sliceService},
}

func podNode(o Object) []string { return []string{o.(*corev1.Pod).Spec.NodeName} }

func controllerUID(o Object) []string {
	if ref := metav1.GetControllerOfNoCopy(o); ref != nil {
		return []string{string(ref.UID)}
	}
	return []string{""}
}

func sliceService(o Object) []string {
	if name := o.GetLabels()[discoveryv1.LabelServiceName]; name != "" {
		return []string{o.GetNamespace() + "/" + name}
	}
	return nil
}
