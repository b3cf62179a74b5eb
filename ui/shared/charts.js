remembered => {
    // What the charts of the page do: they show the values under the pointer, and keep what is chosen above them.
    const LEFT = 46;  // of the drawings, as in line_chart.py
    const shown = document.createElement("div"), words = document.createElement("div");
    shown.className = "chart-pointer";
    shown.hidden = true;
    shown.append(words);
    document.getElementById("frame").append(shown);

    // A line's points: where they are in the drawing, and in words; and its values.
    const pointsOf = line => {
        const drawn = line.querySelector("polyline")?.getAttribute("points") ?? line.querySelector("path").getAttribute("d");
        const at = line.dataset.at.split(";"), values = line.dataset.values.split(";");
        return drawn.match(/[\d.]+(?=,)/g).map((x, place) => ({x: +x, at: at[place], value: values[place]}));
    };
    const put = (parent, kind, text, style) => {
        const part = document.createElement(kind);
        part.textContent = text;
        part.className = style;
        parent.append(part);
        return part;
    };

    let drawing = null, pointer = 0;  // what is under the pointer, and how far from the left of the window that is
    const hide = () => {
        drawing = null;
        shown.hidden = true;
        changes.disconnect();
    };
    const show = () => {
        if (!drawing.isConnected) return hide();
        const box = drawing.getBoundingClientRect(), scale = box.width / drawing.viewBox.baseVal.width;
        const x = (pointer - box.left) / scale, distance = point => Math.abs(point.x - x);
        const found = [...drawing.querySelectorAll("[data-values]")].filter(isShown).map(line => ({
            line, point: pointsOf(line).reduce((best, one) => distance(one) < distance(best) ? one : best),
        }));
        if (!found.length) return hide();
        const nearest = found.reduce((best, one) => distance(one.point) < distance(best.point) ? one : best).point;
        const place = at => drawing.dataset.at.replace("{}", at);
        words.replaceChildren();
        put(words, "b", place(nearest.at), "");
        for (const {line, point} of found) {
            const key = put(words, "span", `${line.dataset.name} `, `key ${line.dataset.style}`);
            put(key, "b", point.value, "");
            if (point.at !== nearest.at) key.append(` (${place(point.at)})`);
        }
        const left = box.left + Math.max(nearest.x, LEFT) * scale;
        Object.assign(shown.style, {left: `${left}px`, top: `${box.top}px`, height: `${box.height}px`});
        shown.classList.toggle("leftward", left > window.innerWidth / 2);
        shown.hidden = false;
    };
    // The smoothed line is there, but shown only when it is chosen.
    const isShown = line => line.dataset.style !== "smooth" || line.querySelector(".smooth").checkVisibility();
    const changes = new MutationObserver(show);  // a run in progress draws its charts anew
    const point = event => {
        const found = event.target.closest?.(".chart svg[data-at]");
        if (!found) return drawing && hide();
        pointer = event.clientX;
        if (found !== drawing) {
            changes.disconnect();
            drawing = found;
            changes.observe(found, {attributes: true, childList: true, subtree: true});
        }
        show();
    };
    for (const kind of ["pointermove", "pointerdown"]) document.addEventListener(kind, point);
    document.addEventListener("scroll", () => drawing && hide(), {capture: true, passive: true});
    document.documentElement.addEventListener("pointerleave", () => drawing && hide());

    // All charts have the same choices, and those of the next run too.
    const boxes = document.getElementsByClassName("chart-choice");
    const chosen = () => (remembered.charts ?? "").split(" ");
    const check = () => {
        for (const box of boxes) box.checked = chosen().includes(box.value);
    };
    document.addEventListener("change", event => {
        const box = event.target;
        if (!box.classList.contains("chart-choice")) return;
        const others = chosen().filter(choice => choice && choice !== box.value);
        remembered.charts = (box.checked ? [...others, box.value] : others).join(" ");
        check();
    });
    new MutationObserver(check).observe(document.body, {childList: true, subtree: true});
    check();
}
