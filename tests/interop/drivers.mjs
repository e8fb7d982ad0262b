// How to get through the pages of each provider: the only part that differs between them.
//
// A driver is given the page a browser has landed on and returns the form to send with what a person
// would type, or nothing if the page is not one of its own.

const ours = {
  login(page, user) {
    const form = page.formWith('login-submit');
    return form && {
      form,
      press: 'login-submit',
      values: { username: user.username, password: user.password },
    };
  },
  consent(page) {
    const form = page.formWith('consent-allow');
    return form && { form, press: 'consent-allow' };
  },
  logout(page) {
    const form = page.formWith('logout-confirm');
    return form && { form, press: 'logout-confirm' };
  },
  device(page, answer) {
    const code = page.formWith('device-open');
    if (code) return { form: code, press: 'device-open' };
    const form = page.formWith('device-allow');
    return form && { form, press: `device-${answer}` };
  },
};

// The development pages that come with npm `oidc-provider`; any password is good there.
const control = {
  login(page, user) {
    const form = page.forms.find(({ fields }) => fields.some(([name]) => name === 'login'));
    return form && { form, values: { login: user.username, password: user.password } };
  },
  consent(page) {
    const form = page.forms.find(({ fields }) =>
      fields.some(([name, value]) => name === 'prompt' && value === 'consent'),
    );
    return form && { form };
  },
  // Its two logout pages keep the button outside the form, or send the form by script.
  logout(page) {
    const form = page.forms.find(({ fields }) => fields.some(([name]) => name === 'xsrf'));
    return form && { form, values: { logout: 'yes' } };
  },
  // The code that came with the address, then whether it is the device's.
  device(page, answer) {
    const form = page.forms.find(({ action, fields }) =>
      action.pathname === '/device' && fields.every(([name, value]) => name !== 'user_code' || value));
    return form && { form, values: answer === 'deny' ? { abort: 'yes' } : {} };
  },
};

export const drivers = { idp: ours, control };

/**
 * Opens an address that leads to the provider and gets through its pages, signing in and allowing;
 * gives the first page that is not the provider's, or the address that begins with `until`.
 */
export async function passPages(browser, driver, user, address, until) {
  let page = await browser.open(address, { until });
  for (let step = 0; page.status !== 0; step += 1) {
    const next = driver.login(page, user) ?? driver.consent(page);
    if (!next) return page;
    if (step > 3) throw unexpected(page);
    page = await browser.submit(page, next.form, { ...next, until });
  }
  return page;
}

/** Opens an authorization request and gets it answered; gives the redirect to the app as a URL. */
export async function authorize(browser, driver, user, request, redirectUri) {
  const page = await passPages(browser, driver, user, request, redirectUri);
  if (page.status !== 0) throw unexpected(page);
  return page.url;
}

/** Opens the address of a device's code and answers: "allow" or "deny". */
export async function answerDevice(browser, driver, user, address, answer) {
  let page = await browser.open(address);
  for (let step = 0; ; step += 1) {
    const next = driver.login(page, user) ?? driver.device(page, answer) ?? driver.consent(page);
    if (!next) return page;
    if (step > 8) throw unexpected(page);
    page = await browser.submit(page, next.form, next);
  }
}

/** Opens an end-session request and confirms if asked; gives the URL the browser ends up at. */
export async function signOut(browser, driver, request, postLogoutRedirectUri) {
  let page = await browser.open(request, { until: postLogoutRedirectUri });
  for (let step = 0; page.status !== 0; step += 1) {
    const next = driver.logout(page);
    if (!next && !postLogoutRedirectUri && step > 0 && page.status === 200) break;
    if (!next || step > 1) throw unexpected(page);
    page = await browser.submit(page, next.form, { ...next, until: postLogoutRedirectUri });
  }
  return page.url;
}

/** Ends a session where its owner does: on our page that lists the sessions. */
export async function endAtAccountPage(browser, issuer, sid) {
  const page = await browser.open(`${issuer}/account/sessions`);
  const path = `/account/sessions/${sid}/end`;
  const form = page.forms.find(({ action }) => action.pathname === path);
  if (!form) throw unexpected(page);
  return browser.submit(page, form);
}

function unexpected(page) {
  const text = page.body
    .replace(/<(style|script)[\s\S]*?<\/\1>/gi, ' ')
    .replace(/<[^>]*>/g, ' ')
    .replace(/\s+/g, ' ')
    .slice(0, 400);
  return new Error(`unexpected page at ${page.url} (${page.status}): ${text}`);
}
