package lifecycle

import (
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// SandboxID names the pod's sandbox, also towards the network.
func SandboxID(pod *corev1.Pod, attempt int) string {
	return fmt.Sprintf("%s-%d", pod.UID, attempt)
}

// SandboxOwner splits a sandbox's name into the pod's UID and the attempt.
func SandboxOwner(id string) (types.UID, int) {
	i := strings.LastIndexByte(id, '-')
	if i < 0 {
		return types.UID(id), 0
	}
	n, err := strconv.Atoi(id[i+1:])
	if err != nil {
		return types.UID(id), 0
	}
	return types.UID(id[:i]), n
}
