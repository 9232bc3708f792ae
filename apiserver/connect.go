package apiserver

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/proxy"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	streams "k8s.io/apiserver/pkg/util/proxy"
	"k8s.io/streaming/pkg/httpstream/wsstream"

	"clipper/apiserver/feature"
)

// isConnect says whether a subresource is a stream to somewhere else rather than an object.
func isConnect(group, resource, name string) bool {
	if group != "" {
		return false
	}
	switch name {
	case "log", "exec", "attach", "portforward":
		return resource == "pods"
	case "proxy":
		return resource == "pods" || resource == "services" || resource == "nodes"
	}
	return false
}

func (q *request) isConnect() bool {
	return isConnect(q.info.Group, q.info.Resource, q.info.Subresource)
}

// connect opens a stream: a pod's log, a command in it, a port, or HTTP to a pod, service or node.
func (q *request) connect() {
	if len(q.query()["dryRun"]) > 0 && q.info.Subresource != "log" {
		q.fail(apierrors.NewBadRequest("dryRun is not supported"))
		return
	}
	if err := q.open(); err != nil {
		q.fail(err)
	}
}

// open asks for a stream as admission leaves the options, not as the client sent them.
func (q *request) open() error {
	if q.info.Subresource == "log" {
		return q.podLog() // a read: admission is not asked
	}
	options, err := q.streamOptions()
	if err != nil {
		return err
	}
	if err := q.s.pipeline.Connect(q.r.Context(), q.pipelineRequest(), options); err != nil {
		return err
	}
	if err := q.mayStream(); err != nil {
		return err
	}
	switch q.info.Subresource {
	case "proxy":
		return withOptions(options, q.proxy)
	case "portforward":
		return withOptions(options, q.portForward)
	}
	return withOptions(options, q.podCommand)
}

// withOptions reads what admission has left.
func withOptions[T any](options *unstructured.Unstructured, open func(*T) error) error {
	o := new(T)
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(options.Object, o); err != nil {
		return apierrors.NewInternalError(fmt.Errorf("%s after admission: %w", options.GetKind(), err))
	}
	return open(o)
}

// mayStream asks for the permission to create where a WebSocket client opens a stream by GET: it is no read.
func (q *request) mayStream() error {
	if q.info.Subresource == "proxy" || q.info.Verb == "create" || !feature.Enabled(feature.PodWebsocketCreatePermission) {
		return nil
	}
	a := q.attributes()
	a.Verb = "create"
	decision, reason, err := q.s.authz.Authorize(q.r.Context(), a)
	if err != nil || decision == authorizer.DecisionAllow {
		return err
	}
	return apierrors.NewForbidden(q.kind.GVR.GroupResource(), q.info.Name, errors.New(reason))
}

// streamOptions is the object that admission sees: what is asked of the stream. It is written down field by
// field, for k8s.io/api has no conversion from a query.
func (q *request) streamOptions() (*unstructured.Unstructured, error) {
	values := q.query()
	options := map[string]any{"apiVersion": "v1"}
	switch q.info.Subresource {
	case "exec", "attach":
		options["kind"] = map[string]string{"exec": "PodExecOptions", "attach": "PodAttachOptions"}[q.info.Subresource]
		for _, name := range []string{"stdin", "stdout", "stderr", "tty"} {
			if isTrue(values[name]) {
				options[name] = true
			}
		}
		if c := values.Get("container"); c != "" {
			options["container"] = c
		}
		if command := values["command"]; len(command) > 0 && q.info.Subresource == "exec" {
			list := make([]any, len(command))
			for i, word := range command {
				list[i] = word
			}
			options["command"] = list
		}
	case "portforward":
		options["kind"] = "PodPortForwardOptions"
		ports, err := forwardedPorts(values)
		if err != nil {
			return nil, err
		}
		if len(ports) > 0 {
			list := make([]any, len(ports))
			for i, port := range ports {
				list[i] = int64(port)
			}
			options["ports"] = list
		}
	default:
		options["kind"] = map[string]string{"pods": "PodProxyOptions", "services": "ServiceProxyOptions", "nodes": "NodeProxyOptions"}[q.info.Resource]
		options["path"] = q.info.Rest
	}
	return &unstructured.Unstructured{Object: options}, nil
}

// forwardedPorts reads the ports that a client names beforehand: those that speak the oldest protocol over
// WebSocket do. Later ones name a port with each stream that they open.
func forwardedPorts(values url.Values) (ports []int32, err error) {
	text := values["ports"]
	if err := metav1.Convert_Slice_string_To_Slice_int32(&text, &ports, nil); err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	return ports, nil
}

func (q *request) pod() (*corev1.Pod, error) {
	item, err := q.s.pipeline.Get(q.r.Context(), q.pipelineRequest())
	if err != nil {
		return nil, err
	}
	pod, ok := item.Object.(*corev1.Pod)
	if !ok {
		return nil, apierrors.NewInternalError(fmt.Errorf("%s is not a pod", q.info.Name))
	}
	return pod, nil
}

// containerOf checks the container that was asked for, or picks the only one.
func containerOf(pod *corev1.Pod, asked string) (string, error) {
	var names []string
	for _, c := range pod.Spec.InitContainers {
		names = append(names, c.Name)
	}
	for _, c := range pod.Spec.Containers {
		names = append(names, c.Name)
	}
	for _, c := range pod.Spec.EphemeralContainers {
		names = append(names, c.Name)
	}
	switch only := len(pod.Spec.Containers); {
	case asked != "" && slices.Contains(names, asked):
		return asked, nil
	case asked != "":
		return "", apierrors.NewBadRequest(fmt.Sprintf("container %s is not valid for pod %s", asked, pod.Name))
	case only == 1:
		return pod.Spec.Containers[0].Name, nil
	case only == 0:
		return "", apierrors.NewBadRequest(fmt.Sprintf("a container name must be specified for pod %s", pod.Name))
	}
	return "", apierrors.NewBadRequest(fmt.Sprintf("a container name must be specified for pod %s, choose one of: [%s]", pod.Name, strings.Join(names, " ")))
}

// portForward opens a way to ports of a pod.
func (q *request) portForward(o *corev1.PodPortForwardOptions) error {
	pod, err := q.pod()
	if err != nil {
		return err
	}
	values := url.Values{}
	for _, port := range o.Ports {
		values.Add("port", strconv.Itoa(int(port)))
	}
	return q.podStream(pod, "/portForward/"+pod.Namespace+"/"+pod.Name, values)
}

// podCommand opens exec or attach, whose options are those of exec without a command.
func (q *request) podCommand(o *corev1.PodExecOptions) error {
	pod, err := q.pod()
	if err != nil {
		return err
	}
	container, err := containerOf(pod, o.Container)
	if err != nil {
		return err
	}
	return q.podStream(pod, "/"+q.info.Subresource+"/"+pod.Namespace+"/"+pod.Name+"/"+container, streamParameters(o))
}

// podStream connects the client to a path of the agent of the pod's node.
func (q *request) podStream(pod *corev1.Pod, path string, values url.Values) error {
	if pod.Spec.NodeName == "" {
		return apierrors.NewBadRequest(fmt.Sprintf("pod %s does not have a host assigned", pod.Name))
	}
	location, err := q.s.nodes.base(q.s.pipeline, pod.Spec.NodeName)
	if err != nil {
		return err
	}
	location.Path, location.RawQuery = path, values.Encode()
	q.stream(location)
	return nil
}

// streamParameters renames what clients ask for to what nodes understand.
func streamParameters(o *corev1.PodExecOptions) url.Values {
	out := url.Values{}
	for node, wanted := range map[string]bool{"input": o.Stdin, "output": o.Stdout, "error": o.Stderr, "tty": o.TTY} {
		if wanted {
			out.Set(node, "1")
		}
	}
	if len(o.Command) > 0 {
		out["command"] = o.Command
	}
	return out
}

// isTrue reads a switch of the query as upstream's conversion does: what is there and not false is true.
func isTrue(values []string) bool {
	return len(values) > 0 && values[0] != "0" && !strings.EqualFold(values[0], "false")
}

// stream connects the client to the node. Today's WebSocket protocols are translated to SPDY here, as
// upstream does, so that a node need not know them.
func (q *request) stream(location *url.URL) {
	ctx, done := q.longRunning(0)
	defer done()
	r := q.r.WithContext(ctx)
	transport := q.s.nodes.transport
	upgrade := proxy.NewUpgradeAwareHandler(location, transport, false, true, responder{q})
	upgrade.MaxBytesPerSec = q.s.limits.StreamRate
	var h http.Handler = upgrade
	if q.info.Subresource == "portforward" {
		h = streams.NewTranslatingHandler(h, streams.NewTunnelingHandler(h), wsstream.IsWebSocketRequestWithTunnelingProtocol)
	} else {
		values := location.Query()
		o := streams.Options{Stdin: values.Has("input"), Stdout: values.Has("output"), Stderr: values.Has("error"), Tty: values.Has("tty")}
		guarded := *location
		guarded.Scheme = "http" // and yet it is HTTPS
		h = streams.NewTranslatingHandler(h, streams.NewStreamTranslatorHandler(&guarded, q.s.nodes.translated, q.s.limits.StreamRate, o), wsstream.IsWebSocketRequestWithStreamCloseProtocol)
	}
	q.code, q.wrote = http.StatusSwitchingProtocols, true
	h.ServeHTTP(q.w, r)
}

// A responder answers errors of the proxy library.
type responder struct{ q *request }

func (r responder) Error(_ http.ResponseWriter, _ *http.Request, err error) {
	if _, ok := err.(apierrors.APIStatus); !ok {
		err = apierrors.NewInternalError(err)
	}
	r.q.fail(err)
}
