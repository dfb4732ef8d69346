// What a page of somebody else's tries against the service at `argument`: to ban every address, and to read.
// Returns what it could read, by how it tried: null where it was kept from it.
const service = argument;
const everybody = `${service}/v1/bans/ip:0.0.0.0%2F0`;
const ban = JSON.stringify({ duration_seconds: null, reason: "by a page", force: true });
const record = JSON.stringify({ key_id: "by-a-page", endpoint: "/x", source_ip: "203.0.113.7", tokens_used: 1 });
const json = { "content-type": "application/json" };

async function read(url, options) {
  try {
    const answer = await fetch(url, options);
    return answer.type === "opaque" ? null : `${answer.status} ${await answer.text()}`;
  } catch {
    return null;
  }
}

function load(element, attributes) {
  return new Promise((resolve) => {
    Object.assign(element, attributes);
    element.onload = () => resolve("loaded");
    element.onerror = () => resolve(null);
    document.body.append(element);
  });
}

// A form may name its one field so that its text is JSON.
function submit(action) {
  return new Promise((resolve) => {
    const frame = Object.assign(document.createElement("iframe"), { name: `frame${Math.random()}` });
    const form = Object.assign(document.createElement("form"), { action, method: "post", enctype: "text/plain" });
    form.target = frame.name;
    const [name, value] = [ban.slice(0, -1) + ',"x":"', '"}'];
    form.append(Object.assign(document.createElement("input"), { name, value }));
    document.body.append(frame, form);
    frame.onload = () => {
      try {
        const shown = frame.contentDocument;
        resolve(shown && shown.URL !== "about:blank" ? shown.body.innerText : null);
      } catch {
        resolve(null);
      }
    };
    form.submit();
  });
}

return {
  simple_post: await read(everybody, { method: "POST", body: ban }),
  simple_record: await read(`${service}/v1/record`, { method: "POST", body: record }),
  typeless_post: await read(`${service}/v1/record`, { method: "POST", body: new TextEncoder().encode(record) }),
  blind_post: await read(`${service}/v1/record/batch`, { method: "POST", mode: "no-cors", body: record }),
  json_post: await read(`${service}/v1/record`, { method: "POST", headers: json, body: record }),
  json_put: await read(everybody, { method: "PUT", headers: json, body: ban }),
  blind_put: await read(everybody, { method: "PUT", mode: "no-cors", headers: json, body: ban }),
  delete: await read(everybody, { method: "DELETE" }),
  form: await submit(everybody),
  beacon: navigator.sendBeacon(`${service}/v1/record`, record) && null,
  get: await read(`${service}/v1/bans`),
  blind_get: await read(`${service}/v1/bans`, { mode: "no-cors" }),
  metrics: await read(`${service}/metrics`),
  script: await load(document.createElement("script"), { src: `${service}/docs/swagger-initializer.js` }),
  image: await load(document.createElement("img"), { src: `${service}/docs/favicon-32x32.png` }),
};
