// Package threshold says when a node is short of something: which signals are watched, at which value one
// counts as crossed, and how both are written in a KubeletConfiguration. It measures nothing itself.
package threshold

import (
	corev1 "k8s.io/api/core/v1"
)

// A Signal names something of which a node may run short.
type Signal string

// The signals. nodefs is the file system of volumes and logs, imagefs that of images and containers' layers;
// containerfs is always one of the two.
const (
	MemoryAvailable      Signal = "memory.available"
	NodeFSAvailable      Signal = "nodefs.available"
	NodeFSInodes         Signal = "nodefs.inodesFree"
	ImageFSAvailable     Signal = "imagefs.available"
	ImageFSInodes        Signal = "imagefs.inodesFree"
	ContainerFSAvailable Signal = "containerfs.available"
	ContainerFSInodes    Signal = "containerfs.inodesFree"
	PodsMemoryAvailable  Signal = "allocatableMemory.available" // of what all pods together may have
	PIDAvailable         Signal = "pid.available"
)

// How messages name what no pod can request and a node can run short of.
const (
	ResourceInodes corev1.ResourceName = "inodes"
	ResourcePIDs   corev1.ResourceName = "pids"
)

// Resource returns what the signal tells of, "" for a signal that does not exist.
func (s Signal) Resource() corev1.ResourceName {
	switch s {
	case MemoryAvailable, PodsMemoryAvailable:
		return corev1.ResourceMemory
	case NodeFSAvailable, ImageFSAvailable, ContainerFSAvailable:
		return corev1.ResourceEphemeralStorage
	case NodeFSInodes, ImageFSInodes, ContainerFSInodes:
		return ResourceInodes
	case PIDAvailable:
		return ResourcePIDs
	}
	return ""
}

// Condition returns the node's condition that a shortage shows in.
func (s Signal) Condition() corev1.NodeConditionType {
	switch s.Resource() {
	case corev1.ResourceMemory:
		return corev1.NodeMemoryPressure
	case corev1.ResourceEphemeralStorage, ResourceInodes:
		return corev1.NodeDiskPressure
	case ResourcePIDs:
		return corev1.NodePIDPressure
	}
	return ""
}

// OfContainerFS reports whether the signal is of the file system that is never one of its own here.
func (s Signal) OfContainerFS() bool { return s == ContainerFSAvailable || s == ContainerFSInodes }
