package e2e

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestCSI follows volumes of a CSI driver: made for a claim, used as directory, as device and for a pod's own life,
// taken to another node, left by an agent that is killed, and gone in the end.
func TestCSI(t *testing.T) {
	u := ownCluster(t, 2)
	t.Cleanup(func() {
		if err := os.RemoveAll("/tmp/clipper-csi-data"); err != nil { // where the driver's manifests have it
			t.Error(err)
		}
	})
	u.clipperRun("sandbox", "image-load", u.name, imagesDir()+"/csidriver.tar")
	u.must("apply", "-n", "csi", "-f", "../csidriver/manifests/driver.yaml")
	u.eventually(60*time.Second, is("hostpath.csi.example.com hostpath.csi.example.com"), "get", "csinodes", "-o", "jsonpath={.items[*].spec.drivers[*].name}")
	const claim = "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: %NAME}\n" +
		"spec: {storageClassName: csi-hostpath, volumeMode: %MODE, accessModes: [ReadWriteOnce], resources: {requests: {storage: 4Mi}}}\n"
	u.apply(replaced(claim, "%NAME", "data", "%MODE", "Filesystem"))
	u.apply(replaced(claim, "%NAME", "raw", "%MODE", "Block"))
	const pod = `apiVersion: v1
kind: Pod
metadata: {name: %NAME}
spec:
  nodeName: %NODE
  terminationGracePeriodSeconds: 0
  containers:
  - name: c
    image: busybox
    imagePullPolicy: Never
    command: [sh, -c, "cat /data/f; echo %NAME > /data/f; test -b /dev/raw0 && test -d /own && sleep 3600"]
    volumeMounts: [{name: data, mountPath: /data}, {name: own, mountPath: /own}]
    volumeDevices: [{name: raw, devicePath: /dev/raw0}]
  volumes:
  - {name: data, persistentVolumeClaim: {claimName: data}}
  - {name: raw, persistentVolumeClaim: {claimName: raw}}
  - {name: own, csi: {driver: hostpath.csi.example.com}}
`
	u.apply(replaced(pod, "%NAME", "first", "%NODE", "node-1"))
	u.phase("first", "Running")
	u.apply(replaced(pod, "%NAME", "second", "%NODE", "node-2"))
	u.eventually(20*time.Second, says("Volume is already used by pod(s) first"), "get", "events", "--field-selector", "reason=FailedAttachVolume")
	u.must("delete", "pod", "first")
	u.phase("second", "Running")
	if out := u.must("logs", "second"); out != "first\n" {
		t.Errorf("on the other node the volume says %q", out)
	}

	u.must("patch", "pvc", "data", "-p", `{"spec":{"resources":{"requests":{"storage":"8Mi"}}}}`)
	u.eventually(90*time.Second, is("8Mi"), "get", "pvc", "data", "-o", "jsonpath={.status.capacity.storage}{.status.conditions}")

	pid := u.nodeProcess("node-2")
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	waitGone(t, pid)
	u.must("delete", "pod", "second", "--force", "--grace-period=0")
	u.clipperRun("sandbox", "create", u.name)
	u.eventually(60*time.Second, is(""), "get", "volumeattachments", "-o", "name")
	u.eventually(30*time.Second, is(""), "get", "nodes", "-o", "jsonpath={.items[*].status.volumesInUse}{.items[*].status.volumesAttached}")
	u.must("delete", "pvc", "data", "raw")
	u.eventually(30*time.Second, is(""), "get", "pv", "-o", "name")
}

func replaced(text string, pairs ...string) string {
	return strings.NewReplacer(pairs...).Replace(text)
}
