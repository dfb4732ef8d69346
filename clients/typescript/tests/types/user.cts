// The same as CommonJS.
import kw = require('keyward');
const guard: kw.Middleware = kw.keyward();
console.log(guard);
