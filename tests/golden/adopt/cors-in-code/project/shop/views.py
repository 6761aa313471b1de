def view(request):
    return HttpResponse(headers={"Access-Control-Expose-Headers": "X-Count"})
