// A browser without a screen: cookies, redirects and HTML forms over plain fetch.
//
// Owns what a person's browser does between an app and a provider: keeps cookies per host, follows
// redirects by hand, reads forms and submits them with their hidden fields. Knows no provider; the
// names of the fields are in drivers.mjs.

const ENTITIES = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" };

function decode(text) {
  return text.replace(/&(?:#x([0-9a-f]+)|#(\d+)|(\w+));/gi, (whole, hex, decimal, name) => {
    if (hex) return String.fromCodePoint(parseInt(hex, 16));
    if (decimal) return String.fromCodePoint(parseInt(decimal, 10));
    return ENTITIES[name] ?? whole;
  });
}

function attributes(tag) {
  const found = {};
  for (const [, name, double, single, bare] of tag.matchAll(
    /([^\s"'<>/=]+)(?:\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+)))?/g,
  )) {
    found[name.toLowerCase()] = decode(double ?? single ?? bare ?? '');
  }
  return found;
}

/** One answer of a server, with the forms on it. */
export class Page {
  constructor(url, response, body) {
    this.url = url;
    this.status = response.status;
    this.headers = response.headers;
    this.body = body;
  }

  /** All forms: where they go, their fields as a browser would send them, the ids inside. */
  get forms() {
    return [...this.body.matchAll(/<form\b([^>]*)>([\s\S]*?)<\/form>/gi)].map(([, head, inside]) => {
      const form = attributes(head);
      const fields = [];
      const buttons = [];
      const ids = new Set([form.id].filter(Boolean));
      for (const [, kind, rest] of inside.matchAll(/<(input|button|textarea|select)\b([^>]*)>/gi)) {
        const control = attributes(rest);
        if (control.id) ids.add(control.id);
        const type = (control.type ?? (kind.toLowerCase() === 'button' ? 'submit' : 'text')).toLowerCase();
        if (type === 'submit') buttons.push(control);
        else if (!control.name || 'disabled' in control) continue;
        else if (['checkbox', 'radio'].includes(type) && !('checked' in control)) continue;
        else fields.push([control.name, control.value ?? '']);
      }
      return {
        action: new URL(form.action || this.url, this.url),
        method: (form.method ?? 'get').toUpperCase(),
        fields,
        buttons,
        ids,
      };
    });
  }

  /** The form that holds the element with this id. */
  formWith(id) {
    return this.forms.find((form) => form.ids.has(id));
  }
}

export class Browser {
  #cookies = new Map();

  /** Cookies do not tell ports apart (RFC 6265 section 8.5), so the host name is the key. */
  #jar(url) {
    const host = url.hostname;
    if (!this.#cookies.has(host)) this.#cookies.set(host, new Map());
    return this.#cookies.get(host);
  }

  #keep(url, response) {
    const jar = this.#jar(url);
    for (const line of response.headers.getSetCookie()) {
      const [pair, ...rest] = line.split(';').map((part) => part.trim());
      const at = pair.indexOf('=');
      const flags = Object.fromEntries(
        rest.map((part) => {
          const [name, ...value] = part.split('=');
          return [name.toLowerCase(), value.join('=')];
        }),
      );
      const gone =
        ('max-age' in flags && Number(flags['max-age']) <= 0) ||
        ('expires' in flags && Date.parse(flags.expires) <= Date.now());
      const path = flags.path?.startsWith('/') ? flags.path : '/';
      const key = `${pair.slice(0, at)};${path}`;
      if (gone) jar.delete(key);
      else jar.set(key, { name: pair.slice(0, at), value: pair.slice(at + 1), path });
    }
  }

  #cookieHeader(url) {
    return [...this.#jar(url).values()]
      .filter(({ path }) => {
        const folder = path.endsWith('/') ? path : `${path}/`;
        return url.pathname === path || url.pathname.startsWith(folder);
      })
      .map(({ name, value }) => `${name}=${value}`)
      .join('; ');
  }

  /**
   * Opens an address as a top-level navigation and follows redirects, until a page is shown or an
   * address begins with `until`, which is then not fetched: its Page has status 0.
   */
  async open(address, { until, method = 'GET', fields, from } = {}) {
    let url = new URL(address);
    let body = fields && new URLSearchParams(fields);
    let origin = from && new URL(from).origin;
    for (let step = 0; step < 20; step += 1) {
      if (until && url.href.startsWith(until)) {
        return new Page(url, { status: 0, headers: new Headers() }, '');
      }
      const headers = {
        accept: 'text/html,application/xhtml+xml',
        'accept-language': 'en',
        'user-agent': 'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140.0 Safari/537.36',
        'sec-fetch-mode': 'navigate',
        'sec-fetch-dest': 'document',
        'sec-fetch-site': origin === undefined ? 'none' : origin === url.origin ? 'same-origin' : 'same-site',
      };
      const cookie = this.#cookieHeader(url);
      if (cookie) headers.cookie = cookie;
      if (method === 'POST' && origin) headers.origin = origin;
      const response = await fetch(url, { method, body, headers, redirect: 'manual' });
      this.#keep(url, response);
      const location = response.headers.get('location');
      if (response.status < 300 || response.status >= 400 || !location) {
        return new Page(url, response, await response.text());
      }
      await response.arrayBuffer();
      if (response.status !== 307 && response.status !== 308) {
        method = 'GET';
        body = undefined;
      }
      origin ??= url.origin;
      url = new URL(location, url);
    }
    throw new Error(`more than 20 redirects, the last to ${url}`);
  }

  /** Sends a form as a person would who filled `values` in and pressed the button with id `press`. */
  submit(page, form, { values = {}, press, until } = {}) {
    const fields = form.fields.filter(([name]) => !(name in values));
    fields.push(...Object.entries(values));
    const button = press ? form.buttons.find(({ id }) => id === press) : form.buttons[0];
    if (button?.name) fields.push([button.name, button.value ?? '']);
    const action = new URL(button?.formaction || form.action, page.url);
    if (form.method !== 'GET') {
      return this.open(action, { method: form.method, fields, from: page.url, until });
    }
    action.search = new URLSearchParams(fields).toString();
    return this.open(action, { from: page.url, until });
  }
}
