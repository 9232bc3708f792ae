package apiserver

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/streaming/pkg/httpstream/wsstream"
)

// podLog streams a container's log.
func (q *request) podLog() error {
	o, err := logOptions(q.query())
	if err != nil {
		return apierrors.NewBadRequest(err.Error())
	}
	if faults := validateLogOptions(o); len(faults) > 0 {
		return apierrors.NewInvalid(schema.GroupKind{Kind: "PodLogOptions"}, q.info.Name, faults)
	}
	pod, err := q.pod()
	if err != nil {
		return err
	}
	container, err := containerOf(pod, o.Container)
	if err != nil {
		return err
	}
	if pod.Spec.NodeName == "" {
		q.writeHeader(http.StatusNoContent) // no node yet, so no log
		return nil
	}
	base, err := q.s.nodes.base(q.s.pipeline, pod.Spec.NodeName)
	if err != nil {
		return err
	}
	base.Path = "/containerLogs/" + pod.Namespace + "/" + pod.Name + "/" + container
	base.RawQuery = logQuery(o).Encode()
	ctx, done := q.longRunning(0)
	defer done()
	through := q.s.nodes.transport
	if o.InsecureSkipTLSVerifyBackend {
		through = q.s.nodes.unverified
	}
	return q.copyFrom(ctx, through, base)
}

// logOptions reads the query as upstream's conversion does: what is no number is an error, what is no bool is true.
func logOptions(values url.Values) (*corev1.PodLogOptions, error) {
	o := &corev1.PodLogOptions{Container: values.Get("container")}
	for name, to := range map[string]*bool{"follow": &o.Follow, "previous": &o.Previous, "timestamps": &o.Timestamps,
		"insecureSkipTLSVerifyBackend": &o.InsecureSkipTLSVerifyBackend} {
		if text := values[name]; len(text) > 0 {
			if err := runtime.Convert_Slice_string_To_bool(&text, to, nil); err != nil {
				return nil, err
			}
		}
	}
	for _, n := range []struct {
		name string
		to   **int64
	}{{"sinceSeconds", &o.SinceSeconds}, {"tailLines", &o.TailLines}, {"limitBytes", &o.LimitBytes}} {
		if text := values[n.name]; len(text) > 0 {
			value, err := strconv.ParseInt(text[0], 10, 64)
			if err != nil {
				return nil, err
			}
			*n.to = &value
		}
	}
	if text := values["sinceTime"]; len(text) > 0 && text[0] != "" {
		at, err := time.Parse(time.RFC3339, text[0])
		if err != nil {
			return nil, err
		}
		o.SinceTime = &metav1.Time{Time: at}
	}
	if text := values["stream"]; len(text) > 0 {
		o.Stream = &text[0]
	}
	return o, nil
}

// validateLogOptions refuses what makes no sense. To choose a stream is a feature that is off by default.
func validateLogOptions(o *corev1.PodLogOptions) field.ErrorList {
	var faults field.ErrorList
	if o.TailLines != nil && *o.TailLines < 0 {
		faults = append(faults, field.Invalid(field.NewPath("tailLines"), *o.TailLines, "must be greater than or equal to 0"))
	}
	if o.LimitBytes != nil && *o.LimitBytes < 1 {
		faults = append(faults, field.Invalid(field.NewPath("limitBytes"), *o.LimitBytes, "must be greater than 0"))
	}
	switch {
	case o.SinceSeconds != nil && o.SinceTime != nil:
		faults = append(faults, field.Forbidden(field.NewPath(""), "at most one of `sinceTime` or `sinceSeconds` may be specified"))
	case o.SinceSeconds != nil && *o.SinceSeconds < 1:
		faults = append(faults, field.Invalid(field.NewPath("sinceSeconds"), *o.SinceSeconds, "must be greater than 0"))
	}
	if o.Stream != nil {
		faults = append(faults, field.Forbidden(field.NewPath("stream"), "may not be specified"))
	}
	return faults
}

// logQuery says the same to the node.
func logQuery(o *corev1.PodLogOptions) url.Values {
	values := url.Values{}
	for name, on := range map[string]bool{"follow": o.Follow, "previous": o.Previous, "timestamps": o.Timestamps} {
		if on {
			values.Set(name, "true")
		}
	}
	for name, n := range map[string]*int64{"sinceSeconds": o.SinceSeconds, "tailLines": o.TailLines, "limitBytes": o.LimitBytes} {
		if n != nil {
			values.Set(name, strconv.FormatInt(*n, 10))
		}
	}
	if o.SinceTime != nil {
		values.Set("sinceTime", o.SinceTime.Format(time.RFC3339))
	}
	return values
}

// copyFrom answers with what the node says.
func (q *request) copyFrom(ctx context.Context, through http.RoundTripper, from *url.URL) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, from.String(), nil)
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	res, err := through.RoundTrip(r)
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	defer res.Body.Close()
	if res.StatusCode < http.StatusOK || res.StatusCode > http.StatusPartialContent {
		return nodeError(res, schema.GroupResource{Resource: q.info.Resource}, q.info.Name)
	}
	if wsstream.IsWebSocketRequest(q.r) {
		return q.copyToSocket(res.Body)
	}
	q.w.Header().Set("Content-Type", "text/plain")
	q.writeHeader(http.StatusOK)
	control := http.NewResponseController(q.w)
	_ = control.Flush() // the client learns at once that the log is there
	buf := make([]byte, 32<<10)
	for {
		n, err := res.Body.Read(buf)
		if n > 0 {
			if _, werr := q.w.Write(buf[:n]); werr != nil {
				return nil // the client has left
			}
			_ = control.Flush()
		}
		if err != nil {
			return nil // the log's end, or the node's: the answer is under way either way
		}
	}
}

// copyToSocket sends a log as messages of a WebSocket, for browsers.
func (q *request) copyToSocket(log io.Reader) error {
	q.code, q.wrote = http.StatusSwitchingProtocols, true
	r := wsstream.NewReader(endLast{bufio.NewReader(log)}, true, wsstream.NewDefaultReaderProtocols())
	if err := r.Copy(q.w, q.r); err != nil {
		q.s.log.Debug("log over WebSocket ended", "path", q.info.Path, "err", err)
	}
	return nil
}

// endLast never says with the last of the log that it was the last: whoever copies it to the socket would drop it.
type endLast struct{ log *bufio.Reader }

func (e endLast) Read(p []byte) (int, error) {
	if e.log.Buffered() == 0 {
		if _, err := e.log.Peek(1); err != nil {
			return 0, err
		}
	}
	return e.log.Read(p[:min(len(p), e.log.Buffered())])
}

// nodeError turns the node's refusal into the client's.
func nodeError(res *http.Response, gr schema.GroupResource, name string) error {
	const maxText = 2048
	body, err := io.ReadAll(io.LimitReader(res.Body, maxText))
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	text := string(body)
	switch res.StatusCode {
	case http.StatusInternalServerError:
		return apierrors.NewInternalError(fmt.Errorf("%s", text))
	case http.StatusBadRequest:
		return apierrors.NewBadRequest(text)
	}
	return apierrors.NewGenericServerResponse(res.StatusCode, "", gr, name, text, 0, false)
}
