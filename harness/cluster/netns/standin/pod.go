// SPDX-License-Identifier: Apache-2.0
// Copyright The lbmatrix Authors

package standin

import (
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lbmatrix/lbmatrix/harness/pace"
)

const (
	lookAgain = 50 * time.Millisecond // at what a pod waits for
	// restartAfter is the pause before a program that ended is started again, and grows
	// by itself with each restart up to restartMost, as kubelet's does.
	restartAfter = time.Second
	restartMost  = 30 * time.Second
	// tokenFor is how long a pod's token is good, in seconds: nothing renews it.
	tokenFor = 7 * 24 * 3600
	// startTurn is the longest that a program which is not ready yet holds up others that
	// are to start: it may be one of those that it waits for.
	startTurn = 10 * time.Second
)

// pod is one pod from its making on.
type pod struct {
	node Node

	mu        sync.Mutex
	object    *corev1.Pod // as the API server has it, once it does
	made      bool        // it does
	container *Container  // once it was started
}

func (p *pod) key() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.object.Namespace + "/" + p.object.Name
}

// running gives the object of a pod that has an address.
func (p *pod) running() (*corev1.Pod, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.object, p.object.Status.PodIP != "" && p.object.Status.Phase == corev1.PodRunning
}

func (p *pod) isReady() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return isReady(p.object)
}

func isReady(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// live is a pod's life: it is made, started, and started again whenever it ends.
func (p *pod) live(ctx context.Context, a *Agent) {
	for try := 0; ctx.Err() == nil; try++ {
		err := p.create(ctx, a)
		if err == nil {
			break
		}
		p.waiting(ctx, a, "CreateError", err)
		pause(ctx, restartAfter)
	}
	for restarts := int32(0); ctx.Err() == nil; restarts++ {
		ended, err := p.start(ctx, a, restarts)
		if err == nil {
			select {
			case err = <-ended:
			case <-ctx.Done():
				return
			}
		}
		if ctx.Err() != nil {
			return
		}
		a.o.Crashed(p.key(), err)
		p.waiting(ctx, a, "CrashLoopBackOff", err)
		pause(ctx, min(restartAfter<<min(restarts, 8), restartMost))
	}
}

// create makes the object, and the place with its address. Others look a pod's address
// up when they start, once, so it is there before anything runs.
func (p *pod) create(ctx context.Context, a *Agent) error {
	p.mu.Lock()
	want := p.object.DeepCopy()
	p.mu.Unlock()
	want.Spec.NodeName = p.node.Name
	client := a.o.Client.CoreV1().Pods(want.Namespace)
	got, err := client.Create(ctx, want, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		got, err = client.Get(ctx, want.Name, metav1.GetOptions{})
	}
	if err != nil {
		return err
	}
	p.mu.Lock()
	p.object, p.made = got, true
	p.mu.Unlock()
	addresses, err := a.o.Runtime.Prepare(ctx, got.Namespace, got.Name, p.node.Name, got.Spec.HostNetwork)
	if err != nil {
		return err
	}
	return p.write(ctx, a, got, func(s *corev1.PodStatus) {
		s.Phase, s.HostIP, s.PodIP = corev1.PodPending, p.node.Addresses[0].String(), addresses[0].String()
		s.HostIPs, s.PodIPs = nil, nil
		for _, h := range p.node.Addresses {
			s.HostIPs = append(s.HostIPs, corev1.HostIP{IP: h.String()})
		}
		for _, h := range addresses {
			s.PodIPs = append(s.PodIPs, corev1.PodIP{IP: h.String()})
		}
	})
}

// start waits for what the container needs, starts it and waits until it is ready.
func (p *pod) start(ctx context.Context, a *Agent, restarts int32) (<-chan error, error) {
	obj := p.current()
	var c Container
	for said := ""; ; {
		var err error
		if c, err = a.container(obj); err == nil {
			break
		}
		if err.Error() != said {
			said = err.Error()
			p.waiting(ctx, a, "CreateContainerConfigError", err)
			obj = p.current()
		}
		if !pause(ctx, lookAgain) {
			return nil, context.Cause(ctx)
		}
	}
	if account := obj.Spec.ServiceAccountName; account != "" {
		token, err := a.token(ctx, obj, account)
		if err != nil {
			return nil, err
		}
		c.Mounts = append(c.Mounts, token)
	}
	url, err := readiness(obj)
	if err != nil {
		return nil, err
	}
	leave, err := a.starts.enter(ctx, obj.Spec.PriorityClassName == criticalClass)
	if err != nil {
		return nil, err
	}
	defer leave()
	ended, err := a.o.Runtime.Start(ctx, c)
	if err != nil {
		return nil, err
	}
	defer time.AfterFunc(pace.Scale(ctx, startTurn), leave).Stop()
	p.mu.Lock()
	p.container = &c
	p.mu.Unlock()
	p.state(ctx, a, restarts, false)
	if url != "" {
		if err := a.ready(ctx, c, url, ended); err != nil {
			return nil, err
		}
	}
	p.state(ctx, a, restarts, true)
	return ended, nil
}

// ready waits for a container's readiness, or for its end.
func (a *Agent) ready(ctx context.Context, c Container, url string, ended <-chan error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	probed := make(chan error, 1)
	go func() { probed <- a.o.Runtime.Probe(ctx, c, url) }()
	select {
	case err := <-probed:
		return err
	case err := <-ended:
		return err
	}
}

// readiness is the URL that says that a pod is ready; "" where nobody need ask.
func readiness(p *corev1.Pod) (string, error) {
	probe := p.Spec.Containers[0].ReadinessProbe
	if probe == nil {
		return "", nil
	}
	if probe.HTTPGet == nil || (probe.HTTPGet.Scheme != "" && probe.HTTPGet.Scheme != corev1.URISchemeHTTP) {
		return "", fmt.Errorf("the readiness probe is no plain HTTP request: that is all that can be asked without a kubelet")
	}
	port, ok := portNumber(probe.HTTPGet.Port, p)
	if !ok {
		return "", fmt.Errorf("the readiness probe asks for port %s, which the container does not have", probe.HTTPGet.Port.String())
	}
	host := probe.HTTPGet.Host
	if host == "" {
		host = p.Status.PodIP
	}
	return "http://" + net.JoinHostPort(host, strconv.Itoa(int(port))) + probe.HTTPGet.Path, nil
}

func (a *Agent) token(ctx context.Context, p *corev1.Pod, account string) (Mount, error) {
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		ExpirationSeconds: new(int64(tokenFor)),
		BoundObjectRef:    &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: p.Name, UID: p.UID},
	}}
	got, err := a.o.Client.CoreV1().ServiceAccounts(p.Namespace).CreateToken(ctx, account, request, metav1.CreateOptions{})
	if err != nil {
		return Mount{}, fmt.Errorf("get a token of service account %s: %w", account, err)
	}
	return Mount{Path: tokenPath, Files: map[string][]byte{"token": []byte(got.Status.Token), "ca.crt": a.o.CA, "namespace": []byte(p.Namespace)}}, nil
}

func (p *pod) current() *corev1.Pod {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.object
}

// state writes that the program runs, as often as it takes: it does, whatever the API
// server answers.
func (p *pod) state(ctx context.Context, a *Agent, restarts int32, ready bool) {
	obj := p.current()
	running := func(s *corev1.PodStatus) {
		s.Phase = corev1.PodRunning
		s.ContainerStatuses = []corev1.ContainerStatus{{
			Name: obj.Spec.Containers[0].Name, Image: obj.Spec.Containers[0].Image, Ready: ready, RestartCount: restarts,
			State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}},
		}}
		s.Conditions = conditions(ready, "")
	}
	for p.write(ctx, a, obj, running) != nil && pause(ctx, lookAgain) {
	}
	a.wake()
}

// waiting writes why the program does not run. That it could not be written is left to
// the next time.
func (p *pod) waiting(ctx context.Context, a *Agent, reason string, cause error) {
	p.mu.Lock()
	obj, made := p.object, p.made
	p.mu.Unlock()
	if !made {
		return // there is no object to tell it
	}
	why := brief(cause)
	_ = p.write(ctx, a, obj, func(s *corev1.PodStatus) {
		restarts := int32(0)
		if len(s.ContainerStatuses) > 0 {
			restarts = s.ContainerStatuses[0].RestartCount
		}
		s.ContainerStatuses = []corev1.ContainerStatus{{
			Name: obj.Spec.Containers[0].Name, Image: obj.Spec.Containers[0].Image, RestartCount: restarts,
			State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: why}},
		}}
		s.Conditions = conditions(false, why)
	})
	a.wake()
}

// brief is the first and the last line of an error: a status is not the place for a log.
func brief(err error) string {
	first, rest, more := strings.Cut(strings.TrimSpace(err.Error()), "\n")
	if !more {
		return first
	}
	return first + " " + rest[strings.LastIndexByte(rest, '\n')+1:]
}

func conditions(ready bool, why string) []corev1.PodCondition {
	status := corev1.ConditionFalse
	if ready {
		status = corev1.ConditionTrue
	}
	out := []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()}}
	for _, t := range []corev1.PodConditionType{corev1.PodInitialized, corev1.ContainersReady, corev1.PodReady} {
		out = append(out, corev1.PodCondition{Type: t, Status: status, Message: why, LastTransitionTime: metav1.Now()})
	}
	return out
}

// write changes the status that the API server has.
func (p *pod) write(ctx context.Context, a *Agent, obj *corev1.Pod, change func(*corev1.PodStatus)) error {
	next := obj.DeepCopy()
	change(&next.Status)
	got, err := a.o.Client.CoreV1().Pods(next.Namespace).UpdateStatus(ctx, next, metav1.UpdateOptions{})
	if apierrors.IsConflict(err) { // somebody has changed the object since
		if next, err = a.o.Client.CoreV1().Pods(next.Namespace).Get(ctx, next.Name, metav1.GetOptions{}); err == nil {
			change(&next.Status)
			got, err = a.o.Client.CoreV1().Pods(next.Namespace).UpdateStatus(ctx, next, metav1.UpdateOptions{})
		}
	}
	if err != nil {
		return fmt.Errorf("write status of pod %s: %w", obj.Name, err)
	}
	p.mu.Lock()
	p.object = got
	p.mu.Unlock()
	return nil
}

// refresh brings the files of a running container up to date, at once: kubelet takes up
// to a minute.
func (p *pod) refresh(a *Agent) error {
	p.mu.Lock()
	obj, c := p.object, p.container
	p.mu.Unlock()
	if c == nil {
		return nil
	}
	now, err := a.container(obj)
	if err != nil {
		return nil // what it was started with stays
	}
	for i, m := range now.Mounts {
		if maps.EqualFunc(c.Mounts[i].Files, m.Files, slices.Equal[[]byte]) {
			continue
		}
		if err := a.o.Runtime.Refresh(*c, m); err != nil {
			return fmt.Errorf("refresh %s of pod %s: %w", m.Path, obj.Name, err)
		}
		p.mu.Lock()
		c.Mounts[i] = m
		p.mu.Unlock()
	}
	return nil
}

// pause waits, and says whether to go on.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
