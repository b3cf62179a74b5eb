remembered => {
    // What the page does when a run begins and when it ends. #frame carries it as data, for the stylesheet: `form` is
    // "folding" and then "folded" while the run comes first, `tell` is "yes" or "denied".
    const frame = document.getElementById("frame"), side = document.getElementById("side-run");
    const isInView = element => Boolean(element?.checkVisibility());

    const fold = isFolded => {
        // A button that is disabled after it was pressed leaves the focus with the page as a whole.
        const focused = document.activeElement, hasFocus = focused === document.body || focused?.closest("#train-form");
        frame.dataset.form = isFolded ? "folding" : "open";
        // The run is away for a frame, so that it appears at the top: it would be seen to jump there from below the form.
        if (isFolded) requestAnimationFrame(() => requestAnimationFrame(() => {
            if (frame.dataset.form !== "folding") return;
            frame.dataset.form = "folded";
            const line = document.getElementById("run-line");
            if (!isInView(line)) return;
            line.scrollIntoView({block: "nearest"});
            if (hasFocus) line.querySelector(".when-folded")?.focus({preventScroll: true});
        }));
    };
    document.addEventListener("click", event => {
        const button = event.target.closest?.("[data-form]:not(#frame)");
        if (!button) return;
        fold(button.dataset.form === "folded");
        // The button that was pressed is gone: the next one, or the form's first field, is what the person goes on with.
        const next = [...document.querySelectorAll("#run-line [data-form], #train-form input")].find(isInView);
        if (button.closest("#run-line")) next?.focus();
    });
    document.addEventListener("click", event => {
        if (event.target.closest?.("[data-stop-run]")) document.getElementById("stop")?.click();
    });

    const tell = state => {
        frame.dataset.tell = remembered.tell = state;
        check();
    };
    const boxes = document.getElementsByClassName("tell-box");
    const check = () => {
        for (const box of boxes) box.checked = frame.dataset.tell === "yes";
    };
    document.addEventListener("change", async event => {
        if (!event.target.classList.contains("tell-box")) return;
        if (!event.target.checked) return tell("");
        const answer = await window.Notification?.requestPermission();
        tell(answer === "granted" ? "yes" : "denied");
    });
    const notify = (run, words) => {
        if (frame.dataset.tell !== "yes") return;
        try {
            new Notification("HearthTune", {body: words, tag: run}).onclick = () => window.focus();
        } catch {  // browsers of phones have the function, but not for pages
            tell("denied");
        }
    };
    const isAllowed = window.Notification?.permission === "granted";
    frame.dataset.tell = remembered.tell === "yes" && isAllowed ? "yes" : "";

    let before = null;  // the run that was seen last, and how it had ended
    const follow = () => {
        check();
        if (!side.querySelector("section")) return;
        const {run = "", ended = "", emptied = ""} = side.querySelector("[data-run]")?.dataset ?? {};
        const isGoingOn = run && !ended;
        if (before === null) {
            if (isGoingOn) frame.dataset.form = "folded";  // as the stylesheet has shown it since the page was opened
        } else if (run > before.run || (isGoingOn && before.ended)) fold(true);
        else if (run === before.run && ended && !before.ended) notify(run, ended);
        if (before && emptied && !before.emptied) notify("queue", emptied);
        before = {run, ended, emptied};
    };
    new MutationObserver(follow).observe(side, {attributes: true, childList: true, subtree: true});
    new MutationObserver(check).observe(document.getElementById("work"), {childList: true, subtree: true});
    follow();
}
