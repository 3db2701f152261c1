(function () {
  "use strict";
  var tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  document.body.appendChild(tip);
  document.querySelectorAll("svg[data-hover]").forEach(function (svg) {
    var known = JSON.parse(svg.getAttribute("data-hover")), box = svg.viewBox.baseVal;
    var rule = document.createElementNS(svg.namespaceURI, "line");
    rule.setAttribute("class", "rule");
    rule.setAttribute("y1", known.top);
    rule.setAttribute("y2", known.bottom);
    rule.setAttribute("visibility", "hidden");
    svg.appendChild(rule);
    function leave() { tip.hidden = true; rule.setAttribute("visibility", "hidden"); }
    svg.addEventListener("pointerleave", leave);
    svg.addEventListener("pointermove", function (event) {
      var place = svg.getBoundingClientRect(), at = (event.clientX - place.left) * box.width / place.width, best = 0;
      known.px.forEach(function (x, i) { if (Math.abs(x - at) < Math.abs(known.px[best] - at)) { best = i; } });
      if (Math.abs(known.px[best] - at) > 40) { leave(); return; }
      rule.setAttribute("x1", known.px[best]);
      rule.setAttribute("x2", known.px[best]);
      rule.setAttribute("visibility", "visible");
      tip.textContent = "";
      [known.name + " " + known.x[best]].concat(known.series.filter(function (s) { return s.y[best] !== ""; })
        .map(function (s) { return s.label + " " + s.y[best]; })).forEach(function (words, i) {
        var line = document.createElement(i ? "span" : "b");
        line.textContent = words;
        tip.appendChild(line);
      });
      tip.hidden = false;
      tip.style.left = Math.min(event.clientX + 14, window.innerWidth - tip.offsetWidth - 8) + "px";
      tip.style.top = Math.max(8, event.clientY - tip.offsetHeight - 14) + "px";
    });
  });
}());
