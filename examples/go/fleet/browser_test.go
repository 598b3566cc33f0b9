package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// The page in a headless Chromium: what an operator sees and clicks. FLEET_SCREENSHOTS names a
// folder for pictures of it. Without Chromium this fails: nothing is skipped.
func TestPageInABrowser(t *testing.T) {
	browser := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			browser = path
			break
		}
	}
	if browser == "" {
		t.Fatal("the page is tested in Chromium: install chromium")
	}
	pictures := os.Getenv("FLEET_SCREENSHOTS")
	if pictures == "" {
		pictures = t.TempDir()
	}
	keys := filepath.Join(t.TempDir(), "keys.json")
	writeKeys(t, keys, apiKey{Name: "operator", Admin: true, SHA256: sumOf("secret")})
	servers := free(t)
	program, f := all(t, "-keys", keys, "-store", t.TempDir(), "-server-listen", servers, "-max-steps", "1000")
	f.key = "secret"

	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(browser), chromedp.NoSandbox, chromedp.WindowSize(1200, 900),
		chromedp.Flag("disable-dev-shm-usage", true))
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	defer stop()
	tab, closeTab := chromedp.NewContext(allocator)
	defer closeTab()
	ctx, cancel := context.WithTimeout(tab, 5*time.Minute)
	defer cancel()
	var complaints []string
	chromedp.ListenTarget(ctx, func(event any) {
		switch e := event.(type) {
		case *runtime.EventExceptionThrown:
			complaints = append(complaints, e.ExceptionDetails.Error())
		case *log.EventEntryAdded:
			// That the first try comes without a key is how the page finds out.
			if e.Entry.Level == log.LevelError && !strings.Contains(e.Entry.Text, "401") && !strings.Contains(e.Entry.Text, "400") {
				complaints = append(complaints, fmt.Sprintf("%s: %s", e.Entry.Source, e.Entry.Text))
			}
		}
	})
	do := func(actions ...chromedp.Action) {
		t.Helper()
		if err := chromedp.Run(ctx, actions...); err != nil {
			t.Fatal(err)
		}
	}
	is := func(script string) (answer bool) {
		t.Helper()
		do(chromedp.Evaluate(script, &answer))
		return answer
	}
	shows := func(what, script string) {
		t.Helper()
		until(t, what, func() bool { return is(script) })
	}
	picture := func(name string) {
		t.Helper()
		var png []byte
		do(chromedp.FullScreenshot(&png, 100))
		if err := os.WriteFile(filepath.Join(pictures, name), png, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	set := func(id, value string) {
		t.Helper()
		do(chromedp.SetValue("#"+id, value, chromedp.ByQuery))
	}
	click := func(selector string) {
		t.Helper()
		do(chromedp.Evaluate(fmt.Sprintf(`document.querySelector(%q).click()`, selector), nil))
	}

	// A wrong key is told, the right one opens the page.
	do(chromedp.Navigate(f.base(0)), chromedp.WaitVisible("#key-form", chromedp.ByQuery))
	set("key", "guess")
	click("#key-form button")
	do(chromedp.WaitVisible("#key-error", chromedp.ByQuery))
	set("key", "secret")
	click("#key-form button")
	do(chromedp.WaitVisible("body[data-ready]", chromedp.ByQuery))
	shows("the worker and the model", `document.getElementById("n-workers").textContent === "1" &&
		document.getElementById("workers").textContent.includes("demo-model") &&
		document.getElementById("model").value === "demo-model" && document.getElementById("link").textContent === "live"`)
	if !is(`[...document.querySelectorAll("input, textarea, select")].every(e => e.labels.length > 0) && document.documentElement.lang === "en"`) {
		t.Error("a field has no label")
	}

	// What others queue shows up as well as what is queued here; one runs, with pictures.
	ends := long() // when it is cancelled below, however slow the browser is beside it
	ends["steps"] = 1000
	running := f.submit("", ends)
	shows("the clip runs, with a picture and progress", fmt.Sprintf(`(card => card !== null &&
		card.querySelector("img").naturalWidth > 0 && card.querySelector("progress").value > 0)(document.querySelector("#running [data-id='%s']"))`, running.ID))
	set("prompt", "a blue square grows on a white background")
	set("steps", "4")
	set("seed", "11")
	click("#submit")
	shows("the one that the page has sent waits", `document.querySelectorAll("#queue li").length === 1`)
	waiting := f.submit("", clip(4, 12))
	shows("two wait, in order", `document.querySelectorAll("#queue li").length === 2 &&
		document.querySelector("#queue li").textContent.includes("blue square") &&
		document.getElementById("n-queued").textContent === "2" && document.getElementById("n-running").textContent === "1" &&
		document.getElementById("n-slots").textContent === "1 / 1"`)
	picture("running.png")

	// Cancel: one that waits, and the one that runs.
	click(fmt.Sprintf("#queue [data-id='%s'] button", waiting.ID))
	f.state(waiting.ID, cancelled)
	began := time.Now()
	click(fmt.Sprintf("#running [data-id='%s'] button", running.ID))
	v := f.state(running.ID, cancelled)
	if took := v.Ended.Sub(began); took > 2*time.Second {
		t.Errorf("cancelling took %v", took)
	}
	// Then the other is made, and plays.
	shows("the video is there", `document.getElementById("n-done").textContent === "1" &&
		document.querySelector("#done .screen button") !== null &&
		[...document.querySelectorAll("#done .screen img")].some(i => i.naturalWidth === 64)`)
	click("#done .screen button")
	shows("it plays", `(v => v !== null && v.videoWidth === 64 && v.currentTime > 0)(document.querySelector("#done video"))`)
	shows("the cancelled are shown as such", `[...document.querySelectorAll("#done .screen")].filter(s => s.textContent === "cancelled").length === 2`)
	picture("done.png")

	// A dead letter is shown, and made after all when somebody says so.
	seed := uint64(1)
	letter := (&order{ID: "LETTER", Owner: "operator", Kind: kind{"demo-model", "t2v", 1}, Submitted: time.Now(),
		Request: request{Model: "demo-model", Prompt: "a green triangle", Steps: 2, Seed: &seed}}).job()
	letter.State, letter.Attempts, letter.Error = dead, 5, &failure{Code: "WORKER_DIED", Message: "all of them died"}
	cl := inside(t, "nats://"+servers)
	text, err := json.Marshal(letter)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cl.js.Publish(ctx, deadSubjects+letter.ID, text); err != nil {
		t.Fatal(err)
	}
	if _, err := cl.jobs.create(ctx, letter); err != nil {
		t.Fatal(err)
	}
	shows("the dead letter", `!document.getElementById("dead-section").hidden &&
		document.querySelector("#dead li").textContent.includes("begun 5 times: all of them died")`)
	picture("dead.png")
	click("#dead li button")
	until(t, "the letter is done", func() bool { return f.job(letter.ID).State == done })
	shows("that there are no more", `document.getElementById("dead-section").hidden && document.getElementById("n-done").textContent === "2"`)

	// A mistake is told beside the form.
	set("steps", "5000")
	click("#submit")
	do(chromedp.WaitVisible("#error", chromedp.ByQuery))
	var told string
	do(chromedp.Text("#error", &told, chromedp.ByQuery))
	if !strings.Contains(told, "steps") || !strings.Contains(told, "1 to 1000") {
		t.Errorf("found %q", told)
	}

	// Small and dark.
	do(chromedp.EmulateViewport(360, 740),
		emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}}))
	if !is(`document.documentElement.scrollWidth <= innerWidth`) {
		t.Error("the page is wider than a small screen")
	}
	picture("small.png")
	if len(complaints) > 0 {
		t.Errorf("the browser complains: %q", complaints)
	}
	// A front that goes away is told.
	program.kill()
	shows("that the front is gone", `document.getElementById("link").textContent.startsWith("looking for the front")`)
}
