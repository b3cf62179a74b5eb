() => {
    // Writes at each field why its setting cannot be used, or where it is from, and leads to a field; see errors.py.
    const MOST_LOOKS = 200, MILLISECONDS = 50;
    const frame = document.getElementById("frame");
    const set = (element, name, value) => {
        if (element.getAttribute(name) !== value) element.setAttribute(name, value);
    };

    const clear = block => {
        block.querySelector(":scope > .fault").remove();
        for (const input of block.querySelectorAll("[aria-invalid]")) {
            input.removeAttribute("aria-invalid");
            input.removeAttribute("aria-describedby");
        }
    };
    const write = (block, sentence) => {
        let words = block.querySelector(":scope > .fault");
        if (!words) {
            words = document.createElement("p");
            words.className = "fault";
            words.id = `${block.id}-fault`;
            block.append(words);
        }
        if (words.textContent !== sentence) words.textContent = sentence;
        for (const input of block.querySelectorAll("input, textarea")) {
            set(input, "aria-invalid", "true");
            set(input, "aria-describedby", words.id);
        }
    };
    // What the page was told of fields: {elem_id: words}.
    const told = what =>
        Object.assign({}, ...[...document.querySelectorAll(`[data-${what}]`)].map(part => JSON.parse(part.dataset[what])));
    const draw = () => {
        const faults = told("faults");
        for (const words of frame.querySelectorAll(".fault"))
            if (!(words.parentElement.id in faults)) clear(words.parentElement);
        for (const [id, sentence] of Object.entries(faults)) {
            const block = document.getElementById(id);
            // Not while it is being typed: on the way to 0.5 there is a 0. Once there, it goes as soon as it is right.
            const isBeingTyped = block?.contains(document.activeElement) && block !== ledTo
                && !block.querySelector(":scope > .fault");
            if (block && !isBeingTyped) write(block, sentence);
        }

        // Only an attribute is written, and only where it differs: no write leads to another one.
        const marks = new Map(Object.entries(told("marks")).map(([id, mark]) =>
            [document.getElementById(id)?.querySelector('[data-testid="block-info"], span'), mark]));
        for (const label of frame.querySelectorAll("[data-mark]"))
            if (!marks.has(label)) delete label.dataset.mark;
        for (const [label, mark] of marks)
            if (label) set(label, "data-mark", mark);
    };
    let ledTo = null;  // the field that was asked for, until another one gets the focus
    const drawSoon = () => requestAnimationFrame(draw);
    // What is wrong changes, and so do the fields: Gradio makes those of a tab when it is first opened. From one setting
    // that is wrong to another it changes the attribute only.
    const changes = {childList: true, subtree: true, attributes: true, attributeFilter: ["data-faults", "data-marks"]};
    new MutationObserver(draw).observe(document.body, changes);
    document.addEventListener("focusout", () => {
        ledTo = null;
        drawSoon();
    });

    const lead = (id, way, looks) => {
        const field = document.getElementById(id);
        if (field?.checkVisibility()) {
            field.querySelector("input, textarea")?.focus({preventScroll: true});
            ledTo = field;
            draw();
            field.scrollIntoView({block: "center"});
            return;
        }
        for (const place of way) {
            const tab = document.getElementById(`${place}-button`);
            if (tab?.getAttribute("aria-selected") === "false") tab.click();
            const head = document.querySelector(`#${place} > button.label-wrap`);
            if (head && !head.classList.contains("open")) head.click();
        }
        if (looks > 0) setTimeout(lead, MILLISECONDS, id, way, looks - 1);
    };
    document.addEventListener("click", event => {
        const {toField, way} = event.target.closest?.("[data-to-field]")?.dataset ?? {};
        if (toField) lead(toField, way.split(" "), MOST_LOOKS);
    });
    draw();
}
