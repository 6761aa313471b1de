EXTRA = ["X-Plot", "X-Row"]


class Own:
    def __call__(self, request):
        r = self.get_response(request)
        r["Access-Control-Allow-Origin"] = "https://page.example.com"
        r["Access-Control-Allow-Headers"] = "Content-Type, X-Key"
        r.headers["Access-Control-Expose-Headers"] = ", ".join(EXTRA)
        r.setdefault("Access-Control-Allow-Methods", "GET, POST")
        r["Access-Control-Max-Age"] = str(self.age)
        return r
